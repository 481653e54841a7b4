"""Who may go on in the history of a hub: the source that fed it before, as long as it goes on with the same market."""

import logging
from pathlib import Path

from bridge.feed.known import KnownSource, read_known, remember
from bridge.feed.lineage import Lineage
from bridge.feed.messages import Hello

_logger = logging.getLogger("argus.feed")


class Acceptance:
    """Judges every feeder that introduces itself, and remembers the one that is let in.

    Args:
        folder: where the source is remembered from one start to the next; None: nowhere.
        epoch: name of the history.
        run: the run that the history ends with; empty where nobody has fed it yet.
    """

    def __init__(self, folder: Path | None, epoch: str, run: str) -> None:
        self.renewal: Hello | None = None
        """The feeder that needs another history than this one."""
        known = None if folder is None else read_known(folder)
        self.known = known if known is not None and known.epoch == epoch else None
        """The source that fed this history; None where that is not known."""
        self._folder = folder
        self._epoch = epoch
        self._run = run

    def admits(self, hello: Hello) -> bool:
        """Whether a feeder goes on in this history."""
        comes = KnownSource(self._epoch, hello.source, hello.simulated)
        known = self.known or comes
        if not Lineage(known.source, known.simulated, self._run).admits(hello):
            _logger.warning("%s, run %s, does not go on with what this hub has: a new epoch", hello.source, hello.run)
            self.renewal = hello
            return False
        self._run = hello.run
        if comes != self.known:
            self.known = comes
            if self._folder is not None:
                remember(self._folder, comes)
        return True
