"""What one client still has to get: order, waiting bytes, and the way from lagging to live."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import hub.history
import hub.jobs
import hub.outbox
from hub.jobs import HistoryJob, RowsJob, snapshot
from hub.messages import Pong, SnapshotDone
from hub.outbox import Outbox
from hub.topic import Topic
from hub.wire import Codec, JsonCodec, MsgpackCodec
from tests.hub.support.core import EPOCH, JSON, make_hub, publish, read_frames, row_of, told

A, B = "600000.SH", "600001.SH"
LIMIT_BYTES = 1000


class Wire:
    """A socket that takes whole frames until it has had ``room`` bytes, and the outbox in front of it."""

    def __init__(self, *, codec: Codec = JSON, limit_bytes: int = LIMIT_BYTES) -> None:
        self.taken: list[bytes] = []
        self.room = 1 << 30
        self.overflows = 0
        self.outbox = Outbox(codec, EPOCH, self._write, limit_bytes, self._overflow)

    def _write(self, frames: bytes) -> None:
        self.taken.append(frames)
        self.room -= len(frames)
        if self.room <= 0:
            self.outbox.writable = False

    def _overflow(self) -> None:
        self.overflows += 1

    def stop(self) -> None:
        self.outbox.writable = False

    def go_on(self, room: int = 1 << 30) -> None:
        self.room = room
        self.outbox.writable = True

    def told(self) -> list[tuple[Any, ...]]:
        """What was taken since the last call, in short."""
        frames = b"".join(self.taken)
        self.taken.clear()
        return told(read_frames(frames))


class Lagging:
    """A hub with one client that subscribed all ticks, and the parts that make it lag."""

    def __init__(self, *codes: str, **hub: Any) -> None:
        self.hub = make_hub(**hub)
        publish(self.hub, *codes)
        self.hub.flush()
        self.wire = Wire()
        self.outbox = self.wire.outbox
        self.hub.router.select("tick:*")
        self.hub.router.move(self.outbox, frozenset({"tick:*"}))

    def topics(self, *codes: str) -> list[Topic]:
        return [self.hub.history.channels["tick"][code] for code in codes]

    def begin(self, job: Any, *fresh: str) -> None:
        self.outbox.begin(
            self.hub.history.cursor_after(self.hub.history.at), self.topics(*fresh), [job] if job is not None else []
        )

    def snapshot(self, *codes: str, request_id: Any = None) -> RowsJob:
        return snapshot(self.hub.history.at, self.topics(*codes), request_id, tells_end=request_id is not None)

    def history(self, *codes: str, after: int = 0, request_id: Any = None) -> HistoryJob:
        history = self.hub.history
        return HistoryJob(EPOCH, history.cursor_after(after), history.at, set(self.topics(*codes)), {}, request_id)

    def publish(self, *codes: str) -> None:
        publish(self.hub, *codes)
        self.hub.flush()

    def pump(self) -> bool:
        return self.outbox.pump(self.hub.history.delivered_at, 0.0)

    def pump_all(self) -> None:
        for _ in range(1000):
            if not self.pump():
                return
        raise AssertionError("the outbox doesn't get on")


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    monkeypatch.setattr(hub.jobs, "ROWS_PER_STEP", 3)
    monkeypatch.setattr(hub.outbox, "ROWS_PER_STEP", 3)


# Bytes that wait


def test_while_the_socket_takes_data_frames_go_to_it_at_once() -> None:
    wire = Wire()
    wire.outbox.put(b"a")
    wire.outbox.put(b"b")
    assert (wire.taken, wire.outbox.queued_bytes) == ([b"a", b"b"], 0)


def test_frames_wait_in_order_while_the_socket_takes_none() -> None:
    wire = Wire()
    wire.stop()
    wire.outbox.put(b"aa")
    wire.outbox.put(b"b")
    assert (wire.taken, wire.outbox.queued_bytes) == ([], 3)
    assert wire.outbox.pump(0, 0.0) is False
    assert wire.taken == []
    wire.go_on()
    wire.outbox.put(b"c")
    assert wire.outbox.pump(0, 0.0) is False
    assert (wire.taken, wire.outbox.queued_bytes) == ([b"aa", b"b", b"c"], 0)


def test_waiting_frames_go_out_one_by_one_as_the_socket_takes_them() -> None:
    wire = Wire()
    wire.stop()
    for frames in b"aa", b"bb", b"cc":
        wire.outbox.put(frames)
    wire.go_on(room=3)
    wire.outbox.pump(0, 0.0)
    assert (wire.taken, wire.outbox.queued_bytes) == ([b"aa", b"bb"], 2)


def test_a_message_is_sent_in_order_with_frames() -> None:
    wire = Wire()
    wire.outbox.put(JSON.message(Pong(time=1)))
    wire.outbox.send(SnapshotDone(count=0))
    assert wire.told() == [("pong",), ("snapshot_done",)]


def test_a_client_is_warned_once_when_more_than_half_of_its_bytes_wait() -> None:
    wire = Wire()
    wire.stop()
    wire.outbox.put(bytes(LIMIT_BYTES // 2))
    assert wire.taken == []
    wire.outbox.put(b"a")
    (warning,) = read_frames(b"".join(wire.taken))
    assert warning == {"type": "slow", "pending_bytes": LIMIT_BYTES // 2 + 1, "limit_bytes": LIMIT_BYTES}
    wire.outbox.put(b"b")
    assert len(wire.taken) == 1


def test_a_client_that_caught_up_is_warned_again_the_next_time() -> None:
    wire = Wire()
    for _ in range(2):
        wire.stop()
        wire.outbox.put(JSON.message(SnapshotDone(id="x" * LIMIT_BYTES, count=0))[: LIMIT_BYTES - 1])
        assert wire.taken.pop().count(b'"slow"') == 1
        wire.go_on()
        wire.outbox.pump(0, 0.0)
        wire.taken.clear()


def test_as_many_bytes_as_the_limit_may_wait_and_no_more() -> None:
    wire = Wire()
    wire.stop()
    wire.outbox.put(bytes(LIMIT_BYTES))
    assert (wire.overflows, wire.outbox.is_shut) == (0, False)
    wire.outbox.put(b"a")
    assert (wire.overflows, wire.outbox.is_shut, wire.outbox.queued_bytes) == (1, True, 0)


def test_after_an_overflow_nothing_is_sent_and_it_is_reported_once() -> None:
    wire = Wire()
    wire.stop()
    wire.outbox.put(bytes(LIMIT_BYTES + 1))
    wire.go_on()
    for _ in range(2):
        wire.outbox.put(bytes(LIMIT_BYTES + 1))
        wire.stop()  # a transport may still say that it takes no more
        wire.outbox.put(bytes(LIMIT_BYTES + 1))
    assert wire.outbox.pump(0, 0.0) is False
    assert (wire.overflows, wire.taken, wire.outbox.queued_bytes) == (1, [], 0)


def test_who_was_shut_while_lagging_is_pumped_no_more() -> None:
    client = Lagging(A)
    client.begin(client.snapshot(A))
    client.outbox.shut()
    assert client.pump() is False
    assert client.wire.told() == []


# Snapshots


def test_a_snapshot_is_as_of_its_moment_and_then_rows_come_live() -> None:
    client = Lagging(A, B, A)
    client.begin(client.snapshot(A, B, request_id=5))
    client.publish(A)
    client.pump_all()
    client.publish(B)
    assert client.wire.told() == [
        ("snapshot", A, 2),
        ("snapshot", B, 1),
        ("snapshot_done",),
        ("live", A, 3),
        ("live", B, 2),
    ]


def test_a_snapshot_of_two_channels_is_a_message_for_each_with_the_id_of_the_request() -> None:
    hub_ = make_hub()
    publish(hub_, A)
    hub_.publish("1m", [row_of("1m", A)], 1)
    topics = [topics[A] for topics in hub_.history.channels.values() if topics]
    frames, _, done = snapshot(2, topics, "s", tells_end=True).step(JSON)
    messages = read_frames(frames)
    assert done
    assert [(message.get("channel"), message["id"]) for message in messages] == [
        ("tick", "s"),
        ("1m", "s"),
        (None, "s"),
    ]


def test_a_snapshot_of_nothing_is_done_at_once() -> None:
    client = Lagging()
    client.begin(client.snapshot(request_id=1))
    client.pump_all()
    assert client.wire.told() == [("snapshot_done",)]
    assert not client.outbox.lagging


@pytest.mark.usefixtures("small_steps")
def test_a_snapshot_goes_out_in_small_steps() -> None:
    client = Lagging(*(f"60000{number}.SH" for number in range(7)))
    client.begin(client.snapshot(*client.hub.history.channels["tick"]))
    sizes = []
    while client.pump():
        sizes.append(len(client.wire.told()))
    assert sizes == [3, 3, 1]


# From lagging to live


def test_a_client_without_history_to_get_stays_live() -> None:
    client = Lagging(A)
    client.begin(None, A)
    assert not client.outbox.lagging
    client.publish(A)
    assert client.wire.told() == [("live", A, 2)]


def test_a_live_client_has_nothing_to_pump() -> None:
    assert Lagging(A).pump() is False


@pytest.mark.usefixtures("small_steps")
def test_history_then_what_came_meanwhile_then_live_rows_and_no_row_twice() -> None:
    client = Lagging(*[A] * 5)
    client.begin(client.history(A, after=1, request_id=5))
    client.publish(A, B)
    assert client.wire.told() == []
    client.pump_all()
    client.publish(B)
    assert client.wire.told() == [
        *(("replay", A, seq) for seq in (2, 3, 4, 5)),
        ("live", A, 6),
        ("live", B, 1),
        ("live", B, 2),
    ]


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("pumps", range(8))
def test_the_join_is_exact_whenever_rows_are_published_and_not_yet_delivered(pumps: int) -> None:
    client = Lagging(*[A] * 9)
    client.begin(client.history(A))
    for _ in range(pumps):
        client.pump()
    publish(client.hub, *[A] * 5)
    client.pump()
    client.hub.flush()
    client.pump_all()
    client.publish(A)
    assert [seq for _, _, seq in client.wire.told()] == list(range(1, 16))


@pytest.mark.usefixtures("small_steps")
def test_one_step_gives_a_bounded_number_of_rows() -> None:
    client = Lagging(*[A] * 8)
    client.begin(client.history(A))
    sizes = []
    while client.pump():
        sizes.append(len(client.wire.told()))
    assert sizes == [3, 1, 3, 1]


def test_nothing_is_encoded_for_a_lagging_client_whose_socket_takes_nothing() -> None:
    client = Lagging(*[A] * 9)
    client.begin(client.history(A))
    client.wire.stop()
    client.publish(A)
    assert client.pump() is False
    assert (client.outbox.queued_bytes, client.wire.taken, client.outbox.lagging) == (0, [], True)


def test_a_step_after_which_the_socket_is_full_is_the_last_for_now() -> None:
    client = Lagging(A)
    client.begin(client.history(A))
    client.wire.go_on(room=1)
    assert client.pump() is False
    assert client.outbox.lagging
    client.wire.go_on()
    client.pump_all()
    assert client.wire.told() == [("replay", A, 1)]


def test_what_was_put_before_goes_out_before_history() -> None:
    client = Lagging(A)
    client.wire.stop()
    client.outbox.send(Pong(time=1))
    client.begin(client.history(A))
    client.wire.go_on()
    client.pump_all()
    assert client.wire.told() == [("pong",), ("replay", A, 1)]


def test_a_lagging_client_without_subscriptions_catches_up_too() -> None:
    client = Lagging(A)
    client.hub.router.move(client.outbox, frozenset())
    client.begin(client.snapshot(A))
    client.publish(A)
    client.pump_all()
    assert client.wire.told() == [("snapshot", A, 1)]
    assert not client.outbox.lagging


def test_several_jobs_are_done_in_order_of_their_requests() -> None:
    client = Lagging(A, B)
    client.begin(client.history(A, request_id=1))
    client.begin(client.snapshot(B, request_id=2))
    client.publish(A)
    client.pump_all()
    assert client.wire.told() == [("replay", A, 1), ("snapshot", B, 1), ("snapshot_done",), ("live", A, 2)]


def test_topics_that_a_lagging_client_begins_to_observe_come_from_that_moment_on() -> None:
    client = Lagging(A)
    client.hub.router.move(client.outbox, frozenset({f"tick:{A}"}))
    client.begin(client.history(A))
    client.publish(B, A)
    client.hub.router.move(client.outbox, frozenset({"tick:*"}))
    client.begin(None, B)
    client.publish(B)
    client.pump_all()
    assert client.wire.told() == [("replay", A, 1), ("live", A, 2), ("live", B, 2)]


# Topics that are dropped


@pytest.mark.parametrize("kind", ["history", "snapshot"])
def test_a_dropped_topic_is_left_out_of_what_is_not_encoded_yet(kind: str) -> None:
    client = Lagging(A, B)
    client.begin(getattr(client, kind)(A, B))
    client.outbox.drop(set(client.topics(A)))
    client.pump_all()
    assert [(code, seq) for _, code, seq in client.wire.told()] == [(B, 1)]


@pytest.mark.usefixtures("small_steps")
def test_a_topic_that_was_dropped_with_rows_lost_is_not_told_as_lost_afterwards() -> None:
    client = Lagging(*[A] * 12, B, ring_rows=1)
    client.begin(client.history(A, B))
    client.publish(*[A] * 4)
    client.pump()
    client.outbox.drop(set(client.topics(A)))
    client.hub.router.move(client.outbox, frozenset({f"tick:{B}"}))
    client.pump_all()
    assert client.wire.told() == [("replay", B, 1)]


# Losses


@pytest.mark.usefixtures("small_steps")
def test_rows_that_left_while_the_client_lagged_are_told_ahead_of_the_next_row() -> None:
    client = Lagging(A, A, A, ring_rows=2)
    client.begin(client.history(A, request_id=7))
    client.publish(A)
    client.pump_all()
    gap, *messages = read_frames(b"".join(client.wire.taken))
    assert gap == {
        "type": "gap",
        "id": 7,
        "topic": f"tick:{A}",
        "epoch": EPOCH,
        "cause": "evicted",
        "from": 1,
        "to": 2,
        "from_time": 1,
        "to_time": 1,
        "by": None,
    }
    assert told(messages) == [("replay", A, 3), ("live", A, 4)]


@pytest.mark.usefixtures("small_steps")
def test_rows_lost_in_many_steps_are_told_as_one_gap() -> None:
    client = Lagging(A, ring_rows=1)
    client.begin(client.snapshot(A))
    for _ in range(20):
        client.publish(A)
    client.pump_all()
    (_, (kind, _, first, last), *rows) = client.wire.told()
    assert (kind, first) == ("gap", 2)
    assert rows == [("live", A, seq) for seq in range(last + 1, 22)]


def test_rows_lost_from_the_end_of_a_request_are_told_before_it_ends() -> None:
    client = Lagging(A, A, ring_rows=1)
    client.begin(client.history(A, request_id=1))
    client.publish(A, A)
    client.publish(A)
    client.pump_all()
    assert client.wire.told()[0] == ("gap", f"tick:{A}", 1, 2)


@pytest.mark.usefixtures("small_steps")
def test_rows_lost_after_the_last_that_is_held_are_told_before_the_client_is_live() -> None:
    client = Lagging(A, ring_bytes=1)
    client.hub.router.select(f"tick:{A}")
    client.hub.router.move(client.outbox, frozenset({f"tick:{A}"}))
    client.begin(client.snapshot(A))
    client.publish(A, A)
    for _ in range(3):
        client.publish(*[B] * 4)
    client.pump_all()
    client.publish(A)
    assert client.wire.told() == [("snapshot", A, 1), ("gap", f"tick:{A}", 2, 3), ("live", A, 4)]


# Position


def test_a_live_client_is_where_the_hub_is() -> None:
    assert Lagging(A).outbox.at(1) == 1


@pytest.mark.usefixtures("small_steps")
def test_a_lagging_client_is_where_its_history_is_and_then_where_it_reads_the_log() -> None:
    client = Lagging(*[A] * 5)
    client.begin(client.history(A, after=1))
    client.publish(A, A)
    positions = [client.outbox.at(7)]
    while client.pump():
        positions.append(client.outbox.at(7))
    assert positions == [1, 4, 5]
    assert client.outbox.at(8) == 8  # live again


def test_a_client_is_no_further_than_any_of_its_requests() -> None:
    client = Lagging(A, A, B)
    client.begin(client.snapshot(B))
    client.begin(client.history(A))
    assert client.outbox.at(3) == 0


# Memory


@pytest.mark.parametrize("part", ["a request", "catching up"])
@pytest.mark.parametrize("make_codec", [MsgpackCodec, JsonCodec])
def test_history_that_was_sent_costs_no_memory(make_codec: Callable[[], Codec], part: str) -> None:
    rows = 3000
    client = Lagging(*[A] * rows, ring_rows=rows)
    log, topics = client.hub.history, client.topics(A)
    outbox = Outbox(make_codec(), EPOCH, lambda _: None, LIMIT_BYTES, lambda: None)
    client.hub.router.move(outbox, frozenset({"tick:*"}))
    tracemalloc.start()
    try:
        if part == "a request":
            job = HistoryJob(EPOCH, log.cursor_after(0), rows, set(topics), {}, None)
            outbox.begin(log.cursor_after(rows), topics, [job])
        else:
            outbox.begin(log.cursor_after(0), topics, [snapshot(0, [], None, tells_end=False)])
        while outbox.pump(rows, 0.0):
            pass
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not outbox.lagging
    assert kept_bytes < 50 * rows
