"""How log lines look: plain for a console, one JSON object a line for a collector. They go to standard error."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_CONSOLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(style: str, level: str) -> None:
    """Log everything of at least a level to standard error, ``style`` is ``console`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    if style == "json":
        fields = "{asctime}{levelname}{name}{message}"
        renamed = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter(fields, style="{", rename_fields=renamed))
    else:
        handler.setFormatter(logging.Formatter(_CONSOLE))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Connections that fail at the handshake are the client's business: port scanners must not fill the log.
    logging.getLogger("websockets").setLevel(logging.CRITICAL if level != "debug" else logging.DEBUG)
