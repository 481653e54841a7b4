"""What the feed published goes into an edge's hub: numbered rows, notices at their places, what the watch is shown."""

from array import array
from collections.abc import Callable, Sequence

import msgpack
import pytest

from bridge.receiver import Receiver
from bridge.relay.logreader import Stretch
from bridge.relay.position import Position
from bridge.relay.source import FeedAfar
from bridge.relay.state import State
from bridge.relay.turn import Rows, no_rows
from hub.calendar import Calendar
from hub.core import Hub, SourceInfo
from hub.followed import FollowedHistory
from hub.health import Health
from hub.past import GapNotice
from hub.schema import CHANNELS
from hub.serving import Serving
from hub.watch import Watch
from tests.bridge.support.relaying import state_of
from tests.hub.support.core import EPOCH, Client
from tests.hub.test_watch import TEN_MS

SH, SZ, BAR = "tick:600000.SH", "tick:000001.SZ", "1m:600000.SH"


def _row(name: str, seq: int) -> bytes:
    channel, _, code = name.partition(":")
    found: bytes = msgpack.packb([code, seq, TEN_MS, 1, *[None] * (len(CHANNELS[channel].names) - 4)])
    return found


class Edge:
    """A hub that is given what a feed published, and a client that observes everything."""

    def __init__(self) -> None:
        self.now_ms = TEN_MS
        self.history = FollowedHistory(ring_rows=100, ring_bytes=1 << 20, at=0, topics=(), known_at=0)
        self.hub = Hub(
            epoch=EPOCH,
            source=SourceInfo("test", simulated=True),
            channels={"tick", "1m"},
            history=self.history,
            universes={},
            on_wants=lambda _: None,
            on_refused=lambda _: None,
            day_start_ms=lambda: 0,
        )
        calendar = Calendar()
        self.watch = Watch(self.hub, Health(calendar), calendar, lambda: self.now_ms)
        self._later: list[Callable[[], None]] = []
        self.receiver = Receiver(self.hub, self.history, self.watch, self._later.append)
        self.client = Client(self.hub)
        self.client.ask("subscribe", topics=["tick:*", "1m:*"], since="none")
        self.client.messages()
        self._seqs: dict[str, int] = {}

    def take(
        self,
        end: Position,
        *rows: tuple[str, int],
        notices: Sequence[GapNotice] = (),
        states: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """What follows up to a place: each row by its topic and the feed's number."""
        names, ats = [name for name, _ in rows], array("q", [at for _, at in rows])
        seqs = array("q")
        for name in names:
            seqs.append(self._seqs.setdefault(name, 0) + 1)
            self._seqs[name] += 1
        packed = [_row(name, seq) for name, seq in zip(names, seqs, strict=True)]
        times = array("q", [TEN_MS] * len(names))
        held = Rows(names, ats, seqs, times, times, packed) if rows else no_rows()
        begin = Position(self.history.public_at(self.history.at), 0)
        self.receiver.take(Stretch(begin, end, held, list(notices), states))

    def flush(self) -> list[tuple[object, ...]]:
        """Deliver, and do what nobody waits for. Returns what the client was given."""
        self.hub.flush()
        for call in self._later:
            call()
        self._later.clear()
        self.client.pump()
        return self.client.told()

    def heartbeat_at(self) -> int:
        self.client.session.heartbeat(0, {})
        (message,) = self.client.messages()
        return int(message["at"])


def test_rows_and_notices_are_given_in_the_feed_s_order_whichever_of_its_rows_are_here() -> None:
    edge = Edge()
    notices = [GapNotice(at, "tick:*", None, at) for at in (2, 5, 9)]
    edge.take(Position(9, 1), (SH, 3), (SZ, 5), (SH, 7), notices=notices)
    gap, row = ("gap", "tick:*", None, None), "live"
    assert edge.flush() == [
        gap,
        (row, "600000.SH", 1),
        (row, "000001.SZ", 1),
        gap,
        (row, "600000.SH", 2),
        gap,
    ]


def test_rows_that_tell_a_state_are_no_live_ones_whichever_of_the_others_are_not_here() -> None:
    edge = Edge()
    edge.take(Position(20, 0), (SH, 3), (SZ, 5), (SH, 7), (SZ, 11), states=((1, 2), (4, 7), (12, 15)))
    assert edge.flush() == [
        ("live", "600000.SH", 1),
        ("snapshot", "000001.SZ", 1),
        ("snapshot", "600000.SH", 2),
        ("live", "000001.SZ", 2),
    ]


def test_clients_are_told_how_far_everything_is_here_and_not_before_they_were_given_it() -> None:
    edge = Edge()
    edge.take(Position(9, 0), (SH, 3))
    assert edge.heartbeat_at() == 0
    assert edge.flush() == [("live", "600000.SH", 1)]
    assert edge.heartbeat_at() == 9
    edge.take(Position(20, 0))  # of others only
    assert edge.heartbeat_at() == 20
    edge.take(Position(30, 1), notices=[GapNotice(30, "tick:*", None, None)])
    edge.take(Position(40, 0))
    assert edge.heartbeat_at() == 20
    edge.flush()
    assert edge.heartbeat_at() == 40


def test_the_watch_is_shown_the_ticks() -> None:
    edge = Edge()
    edge.take(Position(4, 0), (BAR, 1), (SH, 2), (BAR, 3), (SH, 4))
    edge.flush()
    edge.watch.look(1)
    assert {name: health.age_ms for name, health in edge.watch.markets.items()} == {"SH": 0}
    edge = Edge()
    edge.take(Position(2, 0), (BAR, 1), (BAR, 2))
    edge.flush()
    edge.watch.look(1)
    assert edge.watch.markets == {}


@pytest.mark.parametrize("is_heard", [False, True])
def test_a_source_that_gives_rows_of_others_is_not_mute(is_heard: bool) -> None:
    edge = Edge()
    edge.watch.report_source("connected", "", 1)
    if is_heard:
        edge.take(Position(9, 0), ("status:SH", 3))
    edge.now_ms += 60_000
    mute = "the source test is connected, but no row has come yet in open markets"
    assert edge.watch.reasons_not_ready() == ([] if is_heard else [mute])


def test_rows_are_due_of_the_instruments_that_are_served_where_the_source_gives_any() -> None:
    def state(**markets: int) -> State:
        told = state_of()(1, Position(0, 0))
        return State(**{name: getattr(told, name) for name in told.__struct_fields__} | {"markets": markets})

    served = Serving([SH, "tick:600001.SH", SZ, "tick:000002.SZ", "1m:000003.SZ", "tick:430001.BJ"], {})
    feed = FeedAfar(state(SH=2000, SZ=1, XX=5), served)
    assert feed.markets == {"SH": 2, "SZ": 1}
    feed.tell(state())
    assert feed.markets == {}
    assert FeedAfar(state(SH=2000, XX=5)).markets == {"SH": 2000, "XX": 5}
