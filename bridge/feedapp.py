"""The hub of role feed: it publishes what it numbered, and gives its source what the clients of all edges want."""

import logging
from collections.abc import Coroutine, Set
from time import monotonic
from typing import Any, Final

import msgspec

from bridge.app import App
from bridge.feed.going_on import RowsSince
from bridge.feed.source import FeedSource
from bridge.recorder import Recorder
from bridge.relay.boundary import Ousted, Relay
from bridge.relay.fedmarks import FedMarks, MarkingStore
from bridge.relay.keeping import REFERENCE, REFUSALS, UNIVERSES, Keeping
from bridge.relay.lease import Lease, Taken
from bridge.relay.position import Position
from bridge.relay.publisher import Publisher
from bridge.relay.record import Record
from bridge.relay.state import State
from bridge.relay.turn import Fed
from bridge.running import keep_running
from bridge.source import ReferenceData, Source, Told
from hub.delivery import Delivery
from hub.endpoint import Endpoint
from hub.metrics import Figure, Metrics
from hub.opening import Opened
from hub.reference import pack
from hub.schema import STATUS
from hub.settings import Settings
from hub.store import Store

_logger = logging.getLogger("argus.relay")


ELSEWHERE: Final = "This is one of two feeds: clients are served by the edges."


class FeedApp(App):
    """A hub that publishes what it numbered. It serves clients of its own as well, unless another feed stands by.

    Then what was numbered here and not yet published may be numbered anew by the other one: no client may have seen it.

    Args:
        taken: the lease that was taken for this history; None: it is yet to be taken.
        since_ms: rows of the source from before this exchange time (epoch ms) are in the history already.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        opened: Opened,
        metrics: Metrics,
        relay: Relay,
        lease: Lease,
        record: Record,
        taken: Taken | None = None,
        since_ms: int = 0,
        recorder: Recorder | None = None,
    ) -> None:
        self._marks = FedMarks(self._published)
        super().__init__(settings, source, opened, metrics, recorder)
        self.ousted = ""
        """Why another feed leads, or may lead; empty where that is not why it ended."""
        self._since_ms = since_ms
        self._wished: frozenset[str] = frozenset()
        self._own: Set[str] = frozenset()
        self._pace = 1.0
        self._paced = self._source.now_ms(), monotonic()
        self._keeping = Keeping(relay)
        self._keeping.put(UNIVERSES, msgspec.msgpack.encode(dict(settings.universes)))
        self._keeping.put(REFUSALS, msgspec.msgpack.encode({}))
        reference = self._reference
        if reference.instruments:  # restored: the source may not be there for long
            self._keeping.put(REFERENCE, pack(self._source.name, reference.instruments, reference.universes))
        self._publisher = Publisher(
            relay,
            opened.history,
            opened.epoch,
            lease=lease,
            keep_rows=settings.relay_rows,
            keeping=self._keeping,
            state=self._state,
            on_wishes=self._take_wishes,
            marks=self._marks,
            record=record,
            taken=taken,
        )
        if isinstance(self._source, FeedSource):
            self._source.may_take = lambda: self._publisher.may_number
        self._hub.on_delivered = self._publisher.wake
        publisher = self._publisher
        metrics.observe_figures(
            Figure("argus_relay_on", "1 while this process publishes.", False, lambda: float(not publisher.trouble)),
            Figure("argus_relay_rows", "Rows published.", True, lambda: publisher.published_rows),
            Figure("argus_relay_behind_rows", "Rows that wait for the relay.", False, lambda: publisher.behind_rows),
            Figure("argus_relay_filled", "Times the relay was filled anew.", True, lambda: publisher.begun_anew),
        )

    def _works(self) -> list[Coroutine[Any, Any, None]]:
        return [*super()._works(), self._publish(), self._send_clients_away()]

    def _store_of(self, opened: Opened) -> Store:
        return MarkingStore(opened.store, self._marks, opened.history, Fed(opened.run, opened.batch))

    def _endpoints(self, delivery: Delivery) -> dict[str, Endpoint]:
        endpoints = super()._endpoints(delivery)
        self._hub.on_stored = lambda _: None  # a feeder keeps what is not published: another feed may need it
        return endpoints

    def _published(self, fed: Fed) -> None:
        if isinstance(self._source, FeedSource):
            self._source.published(*fed)

    async def _publish(self) -> None:
        try:
            await self._publisher.run()
        except Ousted as ousted:
            _logger.warning("this feed stands by: %s", ousted)
            self.ousted = str(ousted)
            self._ended.set()

    async def _run_source(self) -> None:
        await self._publisher.caught_up.wait()  # else what it brings could be numbered here and by another feed
        sink = RowsSince(self._intake, self._since_ms) if self._since_ms else self._intake
        await keep_running(self._source, sink, lambda: self._intake.batches)

    def _closed(self) -> str:
        return ELSEWHERE if self._publisher.hearing.seconded.is_set() else ""

    async def _send_clients_away(self) -> None:
        await self._publisher.hearing.seconded.wait()
        _logger.info("another feed stands by: clients are served by the edges only")
        await self._server.send_away(ELSEWHERE, self._settings.drain_s)

    def _reasons_degraded(self) -> list[str]:
        trouble = self._publisher.trouble
        return [*super()._reasons_degraded(), *([trouble] if trouble else [])]

    def _take_wishes(self, wished: frozenset[str]) -> None:
        self._wished = wished
        self._want_soon(self._own)

    def _want_soon(self, topics: Set[str]) -> None:
        self._own = topics
        super()._want_soon(topics)

    def _want(self, topics: Set[str]) -> None:
        super()._want(frozenset(self._own) | self._wished)

    def _on_told(self, told: Told) -> None:
        super()._on_told(told)
        if isinstance(told, ReferenceData):
            self._keeping.put(REFERENCE, pack(self._source.name, told.instruments, told.universes))

    def _refuse(self) -> None:
        before = self._hub.refused
        super()._refuse()
        if self._hub.refused != before:
            self._keeping.put(REFUSALS, msgspec.msgpack.encode(self._hub.refused))

    def _state(self, token: int, published: Position) -> State:
        """How this feed is, for the edges."""
        source, days = self._source, self._source.trading_days
        return State(
            token=token,
            epoch=self._opened.epoch,
            at=published.at,
            told=published.told,
            shards=self._settings.relay_shards,
            source=self._hub.source.name,
            simulated=self._hub.source.simulated,
            channels=sorted(self._hub.channels - {STATUS}),
            trading_days=None if days is None else sorted(days),
            markets=dict(source.markets),
            now_ms=source.now_ms(),
            pace=self._measured_pace(source.now_ms()),
            status=self._watch.source_state,
            reason=self._watch.source_reason,
        )

    def _measured_pace(self, now_ms: int) -> float:
        """How fast the source's clock runs, measured over a second or more."""
        then_ms, then_s = self._paced
        passed_s = monotonic() - then_s
        if passed_s >= 1:
            self._pace = max(0.0, (now_ms - then_ms) / 1000 / passed_s)
            self._paced = now_ms, monotonic()
        return self._pace
