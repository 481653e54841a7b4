"""How log lines look, plain for a console or one JSON object a line for a collector, and where they go."""

import logging
import sys
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from hub.logfile import LogFile

_CONSOLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(style: str, level: str, file: Path | None = None) -> None:
    """Log everything of at least a level to a file, or to standard error; ``style`` is ``console`` or ``json``.

    Raises OSError where the file can't be written.
    """
    handler = logging.StreamHandler(sys.stderr) if file is None else LogFile(file)
    if style == "json":
        fields = "{asctime}{levelname}{name}{message}"
        renamed = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter(fields, style="{", rename_fields=renamed))
    else:
        handler.setFormatter(logging.Formatter(_CONSOLE))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    library = logging.getLogger("websockets")
    library.setLevel(logging.ERROR if level != "debug" else logging.DEBUG)
    library_server = logging.getLogger("websockets.server")
    library_server.removeFilter(_is_ours)
    if level != "debug":
        library_server.addFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    """Keep connections out that fail at the handshake: they are the peer's business, and port scanners fill a log."""
    return record.msg != "opening handshake failed"
