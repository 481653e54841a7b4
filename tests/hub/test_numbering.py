"""The two counts of an edge of few topics, held against a list of all its rows; and what its clients are told."""

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import Hub
from hub.followed import NUMBER_BYTES, FollowedHistory
from hub.history import PLACE_BYTES, ROW_BYTES, SEGMENT_ROWS
from hub.numbering import Numbering
from hub.serving import Serving
from hub.topic import Topic
from tests.hub.support.core import EPOCH, Client, make_hub, publish
from tests.hub.test_followed import of

SERVED, OTHER = "600001.SH", "000001.SZ"


@given(st.integers(0, 50), st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), max_size=8), st.integers(0, 9))
def test_each_count_is_found_by_the_other(begin: int, steps: list[list[int]], ahead: int) -> None:
    numbering, known = Numbering(begin), list[int]()
    reached = begin
    for chunk in steps:
        ats = [reached := reached + step for step in chunk]
        known += ats
        numbering.add(ats)
    numbering.reach(reached + ahead)
    for place, feed_at in enumerate(known[:-1], 1):
        assert numbering.feed_at(begin + place) == feed_at
    assert numbering.feed_at(begin + len(known)) == reached + ahead
    for at in range(begin + 1 if known else begin):
        assert numbering.feed_at(at) == at
        assert numbering.own_at(at) == at
    for feed_at in range(begin, reached + ahead + 1):
        assert numbering.own_at(feed_at) == begin + bisect_right(known, feed_at)
    assert numbering.own_at(reached + ahead + 1) == begin + len(known) + 1


def test_what_is_told_never_falls_while_rows_wait_to_be_delivered() -> None:
    numbering = Numbering(0)
    numbering.add([5])
    numbering.reach(100)
    assert numbering.feed_at(1) == 100
    numbering.add([105, 106])
    assert [numbering.feed_at(at) for at in (0, 1, 2, 3)] == [0, 100, 105, 106]
    assert [numbering.own_at(at) for at in (4, 5, 104, 105, 106, 107)] == [0, 1, 1, 2, 3, 4]
    numbering.reach(110)
    assert [numbering.feed_at(at) for at in (1, 2, 3)] == [100, 105, 110]
    numbering.add([120, 130])
    numbering.reach(140)
    assert [numbering.feed_at(at) for at in (1, 2, 3, 4, 5)] == [100, 105, 110, 120, 140]
    numbering.add([])
    assert numbering.feed_at(3) == 110


@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.data())
def test_of_what_is_forgotten_less_is_said_to_be_here_and_never_more(steps: list[int], data: st.DataObject) -> None:
    numbering, known, reached = Numbering(0), list[int](), 0
    for step in steps:
        known.append(reached := reached + step)
        numbering.add([reached])
    before = data.draw(st.integers(1, len(known)))
    numbering.forget(before)
    for at in range(1, len(known) + 1):
        exact = known[at - 1]
        assert numbering.feed_at(at) == exact if at >= before else at <= numbering.feed_at(at) <= exact
    for feed_at in range(reached + 1):
        exact = bisect_right(known, feed_at)
        is_exact = exact >= before - 1  # also between the row before and the first one
        assert numbering.own_at(feed_at) == exact if is_exact else numbering.own_at(feed_at) <= exact


def test_one_count_for_both_takes_no_room_and_forgetting_makes_some() -> None:
    whole, partial = Numbering(5), Numbering(5)
    for number in range(1000):
        whole.add(range(6 + 3 * number, 9 + 3 * number))
        partial.add([6 + 3 * number])
    assert len(whole._own) == 1
    assert len(partial._own) == 1000
    partial.forget(906)
    assert len(partial._own) == 101
    assert (whole.has_holes, partial.has_holes) == (False, True)


class PartialEdge:
    """An edge that serves one topic of a feed's hub."""

    def __init__(self, feed: Hub, **values: int) -> None:
        self.feed = feed
        self.hub = of(feed, feed.history.at, feed.history.at, **values)
        self.hub.serving = Serving([f"tick:{SERVED}"], {"one": [SERVED], "more": [SERVED, OTHER], "all": ["6*"]})
        assert isinstance(self.hub.history, FollowedHistory)
        self.history = self.hub.history

    def follow(self) -> None:
        """Hand on what the edge does not have of its topic, and deliver it."""
        history = self.history
        segment = self.feed.history.segment_at(self.feed.history.cursor_after(history.public_at(history.at)))
        while segment is not None:
            begin = max(0, history.public_at(history.at) + 1 - segment.first_at)
            places = [at for at in range(begin, len(segment.rows)) if segment.topics[at].code == SERVED]
            known = set(history.topics)
            topic: Topic = history.topic("tick", SERVED)
            if places:
                columns = segment.seqs, segment.times, [1] * len(segment.rows), segment.rows
                ats = [segment.first_at + place for place in places]
                history.extend(ats, [topic] * len(ats), *([column[at] for at in places] for column in columns))  # type: ignore[misc, arg-type]
                self.hub.took([] if topic in known else [topic], len(ats), 1)
            self.hub.flush()
            history.reach(segment.end_at - 1)
            segment = segment.next  # type: ignore[assignment]


def fed(*codes: str, hub: Hub | None = None, first_ms: int = 1) -> Hub:
    hub = hub or make_hub(ring_rows=100_000)
    for time_ms, code in enumerate(codes, first_ms):
        publish(hub, code, time_ms=time_ms)
    hub.flush()
    return hub


def test_clients_are_told_the_feed_s_numbers_and_a_position_of_one_holds_on_the_other() -> None:
    feed = fed(SERVED, OTHER)
    edge = PartialEdge(feed)
    client = Client(edge.hub)
    client.session.welcome("test", 1.0, 0)
    client.ask(op="subscribe", topics=[f"tick:{SERVED}"])
    client.pump()
    assert [message["at"] for message in client.messages() if "at" in message] == [2, 2]
    fed(OTHER, SERVED, OTHER, OTHER, SERVED, OTHER, hub=feed, first_ms=3)
    edge.follow()
    client.pump()
    assert client.told() == [("live", SERVED, 2), ("live", SERVED, 3)]
    client.session.heartbeat(0, {})
    (heartbeat,) = client.messages()
    assert heartbeat["at"] == 8
    assert edge.history.at == 4
    for at, first in [(2, 2), (3, 2), (4, 3), (6, 3), (7, 4), (8, 4)]:
        stories = []
        for hub in (feed, edge.hub):
            other = Client(hub)
            other.ask(op="subscribe", topics=[f"tick:{SERVED}"], since={"epoch": EPOCH, "at": at, "seq": {}})
            other.pump()
            subscribed, *rows = other.messages()
            assert subscribed["at"] == 8
            assert subscribed["recovered"]
            stories.append([row["seq"] for message in rows for row in message["rows"]])
        assert stories == [list(range(first, 4))] * 2
    beyond = Client(edge.hub)
    beyond.ask(op="subscribe", topics=[f"tick:{SERVED}"], since={"epoch": EPOCH, "at": 9, "seq": {}})
    beyond.pump()
    assert ("gap", f"tick:{SERVED}", None, None) in beyond.told()


def test_clients_of_conflated_rows_are_told_what_those_of_the_feed_are() -> None:
    edge = PartialEdge(fed(SERVED, OTHER))
    clients = [Client(edge.feed), Client(edge.hub)]
    told: list[list[int]] = [[], []]
    for codes in ([], [SERVED], [OTHER] * 50, [SERVED], [OTHER] * 5, [SERVED]):  # the first is sent, the others wait
        fed(*codes, hub=edge.feed, first_ms=10)
        edge.follow()
        for client, ats in zip(clients, told, strict=True):
            if not codes:
                client.ask(op="subscribe", topics=[f"tick:{SERVED}"], mode="latest", interval_ms=60_000)
            client.pump()
            client.messages()
            client.session.heartbeat(0, {})
            ats += [message["at"] for message in client.messages()]
    assert told[1] == told[0] == sorted(told[0])


def test_a_client_that_lags_is_told_how_far_it_is_by_the_feed_s_numbers() -> None:
    feed = fed(OTHER)
    edge = PartialEdge(feed)
    client = Client(edge.hub, limit_bytes=1 << 24)
    client.ask(op="subscribe", topics=[f"tick:{SERVED}"], since={"time": 0})
    client.pump()
    client.messages()
    client.outbox.writable = False
    fed(*[SERVED, OTHER] * 50, hub=feed, first_ms=2)
    edge.follow()
    assert edge.history.public_at(edge.history.delivered_at) == 101
    assert edge.history.public_at(edge.history.at - 1) == 98


def test_numbers_that_history_has_let_go_of_are_forgotten() -> None:
    feed = make_hub(ring_rows=10**6, ring_bytes=1 << 30)
    edge = PartialEdge(feed, ring_rows=10)
    edge.history._ring_bytes = 1 << 18
    for _ in range(6):
        fed(*[SERVED, OTHER] * (SEGMENT_ROWS // 2), hub=feed)
        edge.follow()
    assert len(edge.history._numbering._own) < edge.history.at
    rows = sum(
        len(row or b"") + (ROW_BYTES if row else 0) for segment in edge.history._segments for row in segment.rows
    )
    places = sum(len(segment.rows) for segment in edge.history._segments)
    assert edge.history.bytes == rows + places * (PLACE_BYTES + NUMBER_BYTES)
    assert edge.history.public_at(edge.history.at) == feed.history.at
    resumed = Client(edge.hub)
    resumed.ask(op="subscribe", topics=[f"tick:{SERVED}"], since={"epoch": EPOCH, "at": 50, "seq": {}})
    resumed.pump()
    subscribed, gap, *_ = resumed.messages()
    assert not subscribed["recovered"]
    assert (gap["cause"], gap["from"]) == ("evicted", 1)


@pytest.mark.parametrize("topics", [[f"tick:{SERVED}"], ["tick:@one"], ["status:*"]])
def test_what_is_served_can_be_had(topics: list[str]) -> None:
    edge = PartialEdge(fed(SERVED))
    edge.hub.router._universes = edge.hub.serving._universes  # type: ignore[union-attr]
    client = Client(edge.hub)
    client.ask(op="subscribe", topics=topics)
    client.pump()
    assert client.messages()[0]["type"] == "subscribed"


@pytest.mark.parametrize(
    "name",
    [f"tick:{OTHER}", "tick:*", f"tick:{SERVED[:5]}*", "tick:@more", "tick:@all", "tick:@theirs", f"1m:{SERVED}"],
)
@pytest.mark.parametrize("op", ["subscribe", "snapshot", "replay"])
def test_what_is_not_served_is_refused_and_never_silently_missing(op: str, name: str) -> None:
    edge = PartialEdge(fed(SERVED))
    edge.hub.router._universes = {**edge.hub.serving._universes, "theirs": [SERVED]}  # type: ignore[union-attr]
    client = Client(edge.hub)
    client.ask(op=op, topics=[f"tick:{SERVED}", name], id=1, **({"from": 0, "to": 9} if op == "replay" else {}))
    client.pump()
    (error,) = client.messages()
    assert (error["code"], error["id"], error["retryable"]) == ("unavailable", 1, False)
    assert error["message"] == f"this edge serves some topics only, and {name!r} is not, or not wholly, among them"
    edge.history.topic("tick", OTHER)  # in the same shards: it is here all the same
    client.ask(op="topics", pattern="tick:*")
    assert [topic["topic"] for topic in client.messages()[0]["topics"]] == [f"tick:{SERVED}"]


@pytest.mark.parametrize(
    ("topic", "wrong"),
    [
        ("tick:6*", "'tick:6*' selects by the pattern '6*': every topic has to be named"),
        ("tick:@all", "'tick:@all' selects by the pattern '6*': every topic has to be named"),
        ("tick:@none", "'tick:@none': there is no universe '@none'"),
        ("tick:@empty", "there is no topic in 'tick:@empty'"),
        ("600001.SH", "'600001.SH' is not a topic: it must look like tick:600000.SH"),
    ],
)
def test_topics_are_named_one_by_one(topic: str, wrong: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
        Serving([topic], {"all": ["6*"], "empty": []})
    assert str(refused.value) == wrong
