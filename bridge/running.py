"""Keeps a source running: one that fails is run again with growing pauses, and everybody is told."""

import asyncio
import logging
from collections.abc import Callable

from bridge.source import ProcessMustEnd, Sink, Source, SourceState, SourceStatus

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0

_logger = logging.getLogger("argus")


async def keep_running(source: Source, sink: Sink, delivered: Callable[[], int]) -> None:
    """Run a source until it ends, or fails and can't go on. Raises ProcessMustEnd as it does.

    ``delivered`` gives the number of batches so far: after a run that brought some, a failure is a new mishap and
    the pauses begin anew.
    """
    retry_s = FIRST_RETRY_S
    while True:
        before = delivered()
        try:
            await source.run(sink)
        except ProcessMustEnd:
            raise
        except Exception as error:  # whatever a vendor's code raises must not end the process
            if delivered() > before:
                retry_s = FIRST_RETRY_S
            failed = f"it failed ({type(error).__name__}: {error})"
            if not source.continues:
                _logger.exception("the source failed")
                sink.report(SourceStatus(SourceState.AWAY, f"{failed} and can't go on"))
                return
            _logger.exception("the source failed; it is started again in %.0f s", retry_s)
            sink.report(SourceStatus(SourceState.AWAY, f"{failed} and is started again"))
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)
        else:
            return
