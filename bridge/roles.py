"""What is different where several processes share one hub: the feed publishes what it numbered, edges follow it."""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Set
from itertools import compress
from time import monotonic
from typing import Any, Final

from bridge.app import App
from bridge.ending import end
from bridge.recorder import Recorder
from bridge.relay.assembler import Assembler
from bridge.relay.beginning import Beginning
from bridge.relay.boundary import Relay
from bridge.relay.follower import EpochEnded, Follower
from bridge.relay.logreader import Stretch
from bridge.relay.publisher import Publisher
from bridge.relay.source import FeedAfar
from bridge.relay.state import State
from bridge.relay.turn import Position, Rows
from bridge.relay.wishing import Wishing
from bridge.source import Source
from hub.core import Hub, SourceInfo
from hub.followed import FollowedHistory
from hub.metrics import Figure, Metrics
from hub.opening import Opened
from hub.rows import Rows as GivenRows
from hub.schema import STATUS
from hub.settings import Settings
from hub.topic import Topic
from hub.watch import Watch

OWNER: Final = secrets.token_hex(8)
"""Names this process among feeds and among edges."""

_logger = logging.getLogger("argus.relay")


class FeedApp(App):
    """A hub that publishes what it numbered. It serves clients of its own as well."""

    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        opened: Opened,
        metrics: Metrics,
        relay: Relay,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__(settings, source, opened, metrics, recorder)
        self._wished: frozenset[str] = frozenset()
        self._own: Set[str] = frozenset()
        self._pace = 1.0
        self._paced = self._source.now_ms(), monotonic()
        self._publisher = Publisher(
            relay,
            opened.history,
            opened.epoch,
            owner=OWNER,
            lease_ms=round(settings.relay_lease_s * 1000),
            keep_rows=settings.relay_rows,
            state=self._state,
            on_wishes=self._take_wishes,
        )
        self._hub.on_delivered = self._publisher.wake
        publisher = self._publisher
        metrics.observe_figures(
            Figure("argus_relay_on", "1 while this process publishes.", False, lambda: float(not publisher.trouble)),
            Figure("argus_relay_rows", "Rows published.", True, lambda: publisher.published_rows),
            Figure("argus_relay_behind_rows", "Rows that wait for the relay.", False, lambda: publisher.behind_rows),
            Figure("argus_relay_filled", "Times the relay was filled anew.", True, lambda: publisher.begun_anew),
        )

    def _works(self) -> list[Coroutine[Any, Any, None]]:
        return [*super()._works(), self._publisher.run()]

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


class EdgeApp(App):
    """A hub whose rows come numbered from the feed.

    Args:
        beginning: where its history begins.
        lost: rows before that were lost on the way, when the process followed the feed before.
    """

    numbers = False

    def __init__(self, settings: Settings, relay: Relay, beginning: Beginning, metrics: Metrics, *, lost: bool) -> None:
        state = beginning.state
        history = FollowedHistory(
            ring_rows=settings.ring_rows,
            ring_bytes=settings.ring_bytes,
            at=beginning.position.at,
            topics=beginning.topics,
            known_at=beginning.known_at,
            lost_in_relay=lost,
        )
        self._feed = FeedAfar(state)
        super().__init__(settings, self._feed, Opened(history, state.epoch), metrics)
        self.ended: EpochEnded | None = None
        """Why another history has to begin; None where the process was stopped."""
        assembler = self._assembler = Assembler(state.epoch, beginning.position)
        self._receiver = _Receiver(self._hub, history, self._watch)
        self._follower = Follower(relay, assembler, state, beginning.known_at, self._take, self._take_state)
        self._wishing = Wishing(relay, OWNER, lambda: self._feed.wanted)
        self._feed.on_want = self._wishing.change
        self._take_state(state)
        follower = self._follower
        metrics.observe_figures(
            Figure("argus_relay_on", "1 while the feed is heard.", False, lambda: float(not follower.trouble)),
            Figure("argus_relay_holes", "Times something did not come by itself.", True, lambda: follower.holes),
            Figure("argus_relay_refilled_rows", "Rows fetched after a hole.", True, lambda: follower.refilled_rows),
            Figure("argus_relay_let_go_rows", "Rows read again: too many waited.", True, lambda: assembler.let_go),
        )

    async def run(self, stopped: asyncio.Event) -> int:
        """Serve as soon as everything is here that the feed has, until ``stopped`` is set or another history begins.

        Returns:
            The port that it listened on.

        Raises:
            StartError: something is in the way.
        """
        self._following = asyncio.create_task(self._follow())
        waits = [asyncio.create_task(event.wait()) for event in (stopped, self._follower.caught_up)]
        try:
            await asyncio.wait([self._following, *waits], return_when=asyncio.FIRST_COMPLETED)
            if stopped.is_set() or self._following.done():
                return self._settings.port
            return await super().run(stopped)
        finally:
            await end([self._following, *waits])

    def _works(self) -> list[Coroutine[Any, Any, None]]:
        return [*super()._works(), self._wishing.run()]

    async def _run_source(self) -> None:
        await asyncio.wait([self._following])
        self._ended.set()

    async def _follow(self) -> None:
        try:
            await self._follower.run()
        except EpochEnded as ended:
            _logger.warning("%s", ended)
            self.ended = ended
        except Exception:  # what came does not fit what is here: only a new beginning mends that
            _logger.exception("the feed can't be followed any more")
            self.ended = EpochEnded("the feed could not be followed", lost=self._assembler.position)

    def _take(self, stretch: Stretch) -> None:
        self._receiver.take(stretch)
        if not self._follower.caught_up.is_set():  # nobody is served yet who would have it flushed
            self._hub.flush()

    def _take_state(self, state: State) -> None:
        self._feed.tell(state)
        self._hub.source = SourceInfo(state.source, state.simulated)
        self._hub.channels = frozenset(state.channels) | {STATUS}
        watch = self._watch
        if (state.status, state.reason) != (watch.source_state, watch.source_reason):
            watch.report_source(state.status, state.reason, 0)

    def _reasons_not_ready(self) -> list[str]:
        trouble = self._follower.trouble
        return [*super()._reasons_not_ready(), *([trouble] if trouble else [])]


class _Receiver:
    """Puts what the feed published into the hub, as it is."""

    def __init__(self, hub: Hub, history: FollowedHistory, watch: Watch) -> None:
        self._hub = hub
        self._history = history
        self._watch = watch
        self._topics: dict[str, Topic] = {}  # by name

    def take(self, stretch: Stretch) -> None:
        """Take rows, and the notices at their places."""
        rows, start, at = stretch.rows, 0, stretch.begin.at
        for notice in stretch.notices:
            end = start + notice.after_at - at
            self._take(rows, start, end)
            start, at = end, notice.after_at
            self._hub.announce(notice.topic, notice.from_ms, notice.to_ms)
        self._take(rows, start, len(rows.rows))

    def _take(self, rows: Rows, start: int, end: int) -> None:
        if start == end:
            return
        part = slice(start, end)
        names, packed, times = rows.names[part], rows.rows[part], rows.times[part]
        known = self._topics
        created: list[Topic] = []
        topics = list(map(known.get, names))
        if None in topics:
            for name in names:
                if name not in known:
                    channel, _, code = name.partition(":")
                    created.append(known.setdefault(name, self._history.topic(channel, code)))
            topics = list(map(known.get, names))
        found: list[Topic] = topics  # type: ignore[assignment]  # none is missing now
        self._history.extend(found, rows.seqs[part], times, rows.recvs[part], packed)
        self._hub.took(created, end - start, rows.recvs[end - 1])
        self._note(found, times, packed)

    def _note(self, topics: list[Topic], times: Any, packed: Any) -> None:
        is_tick = [topic.channel == "tick" for topic in topics]
        codes = [topic.code for topic in compress(topics, is_tick)]
        if codes:
            ticks = GivenRows("tick", codes, list(compress(times, is_tick)), list(compress(packed, is_tick)))
            self._watch.note(ticks)
