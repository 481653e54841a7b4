"""Runs a feed: it stands by until it has the lease, leads until another one does, and stands by again."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from time import time_ns
from typing import Final

from bridge.feed.going_on import place_after
from bridge.feed.known import KnownSource, remember
from bridge.feed.messages import Newest
from bridge.feedapp import FeedApp
from bridge.followedjournal import FollowedJournal
from bridge.recorder import Recorder
from bridge.relay.boundary import Relay
from bridge.relay.lease import Lease
from bridge.relay.record import Record
from bridge.source import Source
from bridge.sources import make_source
from bridge.standbyapp import StandbyApp, journal_folder
from hub.journal import JournalSettings
from hub.metrics import Metrics
from hub.opening import Opened
from hub.settings import Settings

OWNER: Final = secrets.token_hex(8)
"""Names this process among feeds."""

OpenHistory = Callable[[Settings, Source | None, str | None, Callable[[float], None]], Opened]

_logger = logging.getLogger("argus")


async def run_feed(
    settings: Settings,
    source: Source | None,
    source_name: str,
    relay: Relay,
    recorder: Recorder | None,
    open_history: OpenHistory,
    stopped: asyncio.Event,
) -> None:
    """Stand by and lead in turns, until ``stopped``.

    Args:
        source: what runs in this process; None: it is fed.
        source_name: as the journal knows it.
        open_history: as `run_hub.open_history`.

    Raises:
        StartError: something outside is in the way.
    """
    record = Record(settings.data if settings.journal else None)
    lease = Lease(relay, OWNER, round(settings.relay_lease_s * 1000))
    run: str | None = None
    is_renewed = False

    def open_journal(day: Callable[[], date]) -> FollowedJournal:
        kept = JournalSettings(settings.journal_fsync_s, settings.journal_days, settings.journal_bytes)
        return FollowedJournal(journal_folder(settings), kept, source_name, day)

    while True:
        taken = None
        epoch = ""
        if not is_renewed:
            metrics = Metrics(version("argus-hub"))
            standby = StandbyApp(settings, relay, lease, record, metrics, open_journal if settings.journal else None)
            settings = settings.model_copy(update={"port": await standby.run(stopped)})
            if stopped.is_set():
                return
            taken, epoch, told = standby.taken, standby.epoch, standby.state
            if source is None and told is not None and told.epoch == epoch and told.source != "feed":
                remember(settings.data, KnownSource(epoch, told.source, told.simulated))
            # A recording is played from its start, which begins a history.
            run = None if source is None or source.continues else secrets.token_hex(8)
        metrics = Metrics(version("argus-hub"))
        opened = open_history(settings, source, run, metrics.journal_append.observe)
        source, since_ms = _where_it_goes_on(settings, source, opened)
        taken = taken if opened.epoch == epoch else None
        app = FeedApp(settings, source, opened, metrics, relay, lease, record, taken, since_ms, recorder)
        settings = settings.model_copy(update={"port": await app.run(stopped)})
        if app.renewal is None and not app.ousted:
            return
        is_renewed = app.renewal is not None
        run = None if app.renewal is None else app.renewal.run


def _where_it_goes_on(settings: Settings, source: Source | None, opened: Opened) -> tuple[Source | None, int]:
    """A simulated market goes on where the history ends, with the newest exchange time of that."""
    newest = opened.newest()
    if source is None or newest is None or not (source.simulated and source.continues):
        return source, 0
    day, start = place_after(Newest(*newest), time_ns() // 1000, settings.speed)
    _logger.info("the simulated market goes on on %s at %s", day, start.isoformat("seconds"))
    return make_source(settings, (day, start)), newest[0]
