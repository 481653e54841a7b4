"""What a feed that stands by shows of itself: pages for probes and people, and a refusal for everybody else."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from http import HTTPStatus
from pathlib import Path
from time import time_ns
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Response

from bridge.ending import end
from bridge.feed.endpoint import PATH
from bridge.feed.messages import MAX_MESSAGE_BYTES, SUBPROTOCOL
from bridge.feed.right import FeedRight
from bridge.followedjournal import FollowedJournal
from bridge.listening import StartError, server_settings
from bridge.relay.boundary import Relay
from bridge.relay.lease import Lease, Taken
from bridge.relay.record import Record
from bridge.relay.standby import Standby
from bridge.relay.state import State
from hub.calendar import Calendar
from hub.core import Hub, SourceInfo
from hub.delivery import Delivery
from hub.history import History
from hub.journal import JournalError
from hub.metrics import Figure, Metrics
from hub.pages import Pages
from hub.peers import PeerConnection
from hub.server import HubServer
from hub.settings import Settings

CLOSED: Final = "This feed stands by: clients are served by the edges."
_NO_EPOCH: Final = "0" * 16

_logger = logging.getLogger("argus")


class StandbyApp:
    """A feed from when it has not the lease to when it has it.

    Args:
        open_journal: opens where it is written what is followed, given the trading day now; None: there is none.
    """

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        lease: Lease,
        record: Record,
        metrics: Metrics,
        open_journal: Callable[[Callable[[], date]], FollowedJournal] | None,
    ) -> None:
        self.taken: Taken | None = None
        """The lease, to go on with in the epoch of the journal; None: with another one, or stopped."""
        self.epoch = ""
        """That of the journal; empty where there is none."""
        self.state: State | None = None
        """What the feed that leads, or led, told last."""
        self._settings = settings
        self._relay = relay
        self._lease = lease
        self._record = record
        self._metrics = metrics
        self._open_journal = open_journal
        self._standby: Standby | None = None
        self._failure = ""

    async def run(self, stopped: asyncio.Event) -> int:
        """Stand by until this feed has the lease, or ``stopped`` is set. Returns the port that it listened on.

        Raises:
            StartError: something is in the way.
        """
        settings, loop = self._settings, asyncio.get_running_loop()
        history = History(ring_rows=1, ring_bytes=1)
        source = SourceInfo("feed", simulated=False)
        hub = Hub(
            epoch=_NO_EPOCH,
            source=source,
            channels=frozenset(),
            history=history,
            universes={},
            on_wants=lambda _: None,
            on_refused=lambda _: None,
            day_start_ms=lambda: 0,
        )
        metrics = self._metrics
        metrics.observe_figures(
            Figure("argus_relay_on", "1 while this process publishes.", False, lambda: 0.0),
            Figure("argus_relay_followed_rows", "Rows of another feed that were written here.", True, self._followed),
        )
        pages = Pages(frozenset(), self._reasons, lambda: [self._failure] if self._failure else [], metrics.page)
        delivery = Delivery(hub, loop, lambda _: None, 0.0)
        endpoints = {PATH: _Refusing(FeedRight(settings.feeding_token))}
        server = HubServer(hub, delivery, server_settings(settings), pages.get, dict, endpoints, lambda: CLOSED)
        try:
            addresses = await server.start(settings.host, settings.port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(f"cannot listen on {settings.host} port {settings.port}: {reason}") from None
        host, port = addresses[0]
        shown = f"[{host}]" if ":" in host else host
        print(f"Argus Hub is listening on http://{shown}:{port}/ (ws://{shown}:{port}/ws)", flush=True)  # noqa: T201
        standing = asyncio.create_task(self._stand_by())
        waiting = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait([standing, waiting], return_when=asyncio.FIRST_COMPLETED)
            if standing.done():
                self.taken = standing.result()
        finally:
            await end([standing, waiting])
            await server.drain("this feed is about to lead", 0.1)
        return port

    async def _stand_by(self) -> Taken | None:
        journal = self._journal()
        while True:
            standby = self._standby = Standby(self._relay, self._lease, self._record, journal, self._take_state)
            try:
                taken = await standby.run()
                self.epoch = "" if journal is None else journal.epoch
                return taken
            except JournalError as error:
                self._fail(error)
                broken, journal = journal, None
                if broken is not None:
                    with suppress(JournalError):
                        broken.close()
            finally:
                if journal is not None:
                    journal.close()

    def _journal(self) -> FollowedJournal | None:
        try:
            return None if self._open_journal is None else self._open_journal(self._day)
        except JournalError as error:
            self._fail(error)
            return None

    def _fail(self, error: JournalError) -> None:
        self._failure = f"{error}: what is published is not followed, and a takeover will begin a new epoch"
        _logger.critical("%s", self._failure)

    def _take_state(self, state: State) -> None:
        self.state = state

    def _day(self) -> date:
        """The trading day now."""
        state = self.state
        days = None if state is None or state.trading_days is None else frozenset(state.trading_days)
        return Calendar(days).trading_day(time_ns() // 1_000_000 if state is None else state.now_ms)

    def _followed(self) -> float:
        return 0.0 if self._standby is None else self._standby.followed_rows

    def _reasons(self) -> list[str]:
        return ["this feed is starting" if self._standby is None else self._standby.trouble]


class _Refusing:
    """A `hub.endpoint.Endpoint` for feeders, who are told to come back, or to try another address."""

    subprotocol = SUBPROTOCOL
    max_message_bytes = MAX_MESSAGE_BYTES

    def __init__(self, right: FeedRight) -> None:
        self._right = right

    def refuse(self, connection: PeerConnection, headers: Headers) -> Response | None:
        """Why this peer may not feed."""
        refusal = self._right.refuse(connection, headers)
        return refusal or connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "Another feed leads.\n")

    async def serve(self, connection: PeerConnection) -> None:
        """Nobody is let in."""


def journal_folder(settings: Settings) -> Path:
    """Where a feed has its journal."""
    return settings.data / "journal"
