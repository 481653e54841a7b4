"""The hub of role edge: its rows come numbered from the feed, and what its clients want goes up to it."""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.app import App
from bridge.ending import end
from bridge.receiver import Receiver
from bridge.relay import keeping
from bridge.relay.assembler import Assembler
from bridge.relay.beginning import Beginning
from bridge.relay.boundary import Relay
from bridge.relay.follower import Assembling, EpochEnded, Follower
from bridge.relay.keeping import Learning
from bridge.relay.logreader import Stretch
from bridge.relay.partial import PartialAssembler
from bridge.relay.share import Share
from bridge.relay.source import FeedAfar
from bridge.relay.state import State
from bridge.relay.wishing import Wishing
from bridge.source import ReferenceData, Refusals
from hub.core import Refusal, SourceInfo
from hub.followed import FollowedHistory
from hub.metrics import Figure, Metrics
from hub.opening import Opened
from hub.reference import unpack
from hub.schema import STATUS
from hub.serving import Serving
from hub.settings import Settings

NAME: Final = secrets.token_hex(8)
"""Names this process among edges."""
LEARN_S: Final = 5.0
"""How long clients wait, after an edge has all rows, for what the feed knows of instruments."""

_decode_refusals: Final = msgspec.msgpack.Decoder(dict[str, Refusal]).decode
_decode_universes: Final = msgspec.msgpack.Decoder(dict[str, list[str]]).decode

_logger = logging.getLogger("argus.relay")


class EdgeApp(App):
    """A hub whose rows come numbered from the feed.

    Args:
        share: what it takes of the relay.
        serving: the topics that it serves; None: all.
        beginning: where its history begins.
        lost: rows before that were lost on the way, when the process followed the feed before.
    """

    numbers = False

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        share: Share,
        serving: Serving | None,
        beginning: Beginning,
        metrics: Metrics,
        *,
        lost: bool,
    ) -> None:
        state = beginning.state
        history = FollowedHistory(
            ring_rows=settings.ring_rows,
            ring_bytes=settings.ring_bytes,
            at=beginning.position.at,
            topics=beginning.topics,
            known_at=beginning.known_at,
            lost_in_relay=lost,
        )
        self._feed = FeedAfar(state, serving)
        super().__init__(settings, self._feed, Opened(history, state.epoch), metrics)
        self.ended: EpochEnded | None = None
        """Why another history has to begin; None where the process was stopped."""
        self._hub.serving = serving
        assembler: Assembling
        if share.is_whole:
            assembler = Assembler(state.epoch, beginning.position, relay.shards)
        else:
            assembler = PartialAssembler(state.epoch, beginning.position, share, state)
        self._assembler = assembler
        self._receiver = Receiver(self._hub, history, self._watch, asyncio.get_running_loop().call_soon)
        self._follower = Follower(relay, assembler, state, beginning.known_at, self._take, self._take_state)
        self._learning = Learning(relay, self._learn)
        self._told = ReferenceData((), {})
        self._operators: Mapping[str, Sequence[str]] = {}  # universes that the feed's operator has named
        self._wishing = Wishing(relay, NAME, lambda: self._feed.wanted)
        self._feed.on_want = self._wishing.change
        self._take_state(state)
        follower = self._follower
        metrics.observe_figures(
            Figure("argus_relay_on", "1 while the feed is heard.", False, lambda: float(not follower.trouble)),
            Figure("argus_relay_holes", "Times something did not come by itself.", True, lambda: follower.holes),
            Figure(
                "argus_relay_cut_off", "Times Redis, or what waited, cut listening off.", True, lambda: follower.cut_off
            ),
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
        learning = asyncio.create_task(self._learning.run())
        waits = [asyncio.create_task(stopped.wait()), asyncio.create_task(self._catch_up())]
        try:
            await asyncio.wait([self._following, *waits], return_when=asyncio.FIRST_COMPLETED)
            if stopped.is_set() or self._following.done():
                return self._settings.port
            return await super().run(stopped)
        finally:
            await end([self._following, learning, *waits])

    def _works(self) -> list[Coroutine[Any, Any, None]]:
        return [*super()._works(), self._wishing.run()]

    async def _run_source(self) -> None:
        await self._feed.run(self._intake)
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
        finally:
            self._feed.ended.set()

    async def _catch_up(self) -> None:
        """Return when everything is here that the feed has, or all but what nobody has any more."""
        await self._follower.caught_up.wait()
        try:
            async with asyncio.timeout(LEARN_S):
                await self._learning.caught_up.wait()
        except TimeoutError:
            _logger.error("what the feed knows of instruments can't be had: universes are unknown until it can")

    def _learn(self, kind: str, content: bytes) -> None:
        """Take what the feed told beside its rows. Raises msgspec.DecodeError."""
        match kind:
            case keeping.REFUSALS:
                self._on_told(Refusals(_decode_refusals(content)))
                return
            case keeping.REFERENCE:
                kept = unpack(content)
                if kept.source != self._feed.name:  # of another feed before this one
                    return
                self._told = ReferenceData(kept.instruments, kept.universes)
            case keeping.UNIVERSES:
                self._operators = _decode_universes(content)
        told = self._told
        self._on_told(ReferenceData(told.instruments, {**told.universes, **self._operators}))

    def _take(self, stretch: Stretch) -> None:
        self._receiver.take(stretch)
        if not self._follower.caught_up.is_set():  # nobody is served yet who would have it flushed
            self._hub.flush()

    def _take_state(self, state: State) -> None:
        self._feed.tell(state)
        self._learning.note(state.digests)
        self._hub.source = SourceInfo(state.source, state.simulated)
        self._hub.channels = frozenset(state.channels) | {STATUS}
        watch = self._watch
        if (state.status, state.reason) != (watch.source_state, watch.source_reason):
            watch.report_source(state.status, state.reason, 0)

    def _reasons_not_ready(self) -> list[str]:
        trouble = self._follower.trouble
        return [*super()._reasons_not_ready(), *([trouble] if trouble else [])]
