"""The history of an edge: rows as they came, and what was before its beginning is known to be missing."""

from collections.abc import Sequence

import pytest

from hub.core import Hub, SourceInfo
from hub.followed import FollowedHistory
from hub.history import SEGMENT_ROWS
from hub.past import RestoredTopic
from hub.topic import Topic
from tests.hub.support.core import EPOCH, Client, make_hub, publish, row_of, told

CODES = "600001.SH", "600002.SH", "000001.SZ"


def of(feed: Hub, at: int, known_at: int, *, lost: bool = False, ring_rows: int = 1000) -> Hub:
    """An edge that begins after row ``at`` of a feed's hub, and is told of those topics that have not spoken since."""
    topics = [
        RestoredTopic("tick", topic.code, topic.seq, topic.at, topic.newest, topic.time_ms, topic.newest_time_ms)
        for topic in feed.history.topics
        if topic.at <= at
    ]
    history = FollowedHistory(
        ring_rows=ring_rows, ring_bytes=1 << 24, at=at, topics=topics, known_at=known_at, lost_in_relay=lost
    )
    return Hub(
        epoch=EPOCH,
        source=SourceInfo("test", simulated=True),
        channels={"tick", "1m"},
        history=history,
        universes={},
        on_wants=lambda _: None,
        on_refused=lambda _: None,
        day_start_ms=lambda: 0,
    )


def follow(edge: Hub, feed: Hub, *, settles: bool = True) -> None:
    """Hand on everything that the edge does not have, and deliver it."""
    history = edge.history
    assert isinstance(history, FollowedHistory)
    segment = feed.history.segment_at(feed.history.cursor_after(history.at))
    while segment is not None:
        part = slice(max(0, history.at + 1 - segment.first_at), None)
        before = set(history.topics)
        topics = [history.topic(topic.channel, topic.code) for topic in segment.topics[part]]
        recvs = [segment.recv_us(place) for place in range(len(segment.rows))[part]]
        rows: Sequence[bytes] = segment.rows[part]  # type: ignore[assignment]  # all are held
        created: list[Topic] = [topic for topic in dict.fromkeys(topics) if topic not in before]
        ats = range(segment.first_at, segment.end_at)[part]
        history.extend(ats, topics, segment.seqs[part], segment.times[part], recvs, rows)
        edge.took(created, len(rows), 1)
        segment = segment.next  # type: ignore[assignment]
    edge.deliver()
    if settles:
        edge.settle()


def story(hub: Hub, **subscribe: object) -> list[tuple[object, ...]]:
    client = Client(hub)
    client.ask(op="subscribe", topics=["tick:*", "1m:*"], **subscribe)
    client.pump()
    return client.told()


def replayed(hub: Hub, from_ms: int, to_ms: int) -> list[tuple[object, ...]]:
    client = Client(hub)
    client.ask(op="replay", topics=["tick:*"], **{"from": from_ms, "to": to_ms}, id=1)
    client.pump()
    return client.told()


def test_clients_of_an_edge_are_told_what_those_of_the_feed_are() -> None:
    feed = make_hub(ring_rows=100_000)
    edge = of(feed, 0, 0, ring_rows=100_000)
    for number in range(SEGMENT_ROWS // 2):
        publish(feed, *CODES, time_ms=number + 1)
        if number % 500 == 0:
            publish(feed, CODES[0], time_ms=1)  # late
    feed.publish("1m", [row_of("1m", "600001.SH", 5)], 7)
    feed.flush()
    follow(edge, feed)
    of_edge, of_feed = (replayed(hub, 0, 3) for hub in (edge, feed))
    assert len(of_feed) > 2 * len(CODES)  # the late ones are among them
    assert of_edge == of_feed
    publish(feed, *CODES, "600009.SH", time_ms=10**6)
    feed.flush()
    follow(edge, feed)
    for since in (None, "none", {"time": 0}, {"time": 1500}, {"epoch": EPOCH, "at": 3000, "seq": {}}):
        given = {} if since is None else {"since": since}
        assert story(edge, **given) == story(feed, **given)


def test_rows_of_topics_that_are_new_go_to_whoever_waits_for_them() -> None:
    feed = make_hub()
    edge = of(feed, 0, 0)
    client = Client(edge)
    client.ask(op="subscribe", topics=["tick:6*"], since="none")
    client.pump()
    client.messages()
    publish(feed, *CODES)
    feed.flush()
    follow(edge, feed)
    assert client.told() == [("live", "600001.SH", 1), ("live", "600002.SH", 1)]


def test_the_newest_row_of_a_topic_is_known_to_whoever_asks_as_soon_as_it_is_delivered() -> None:
    """It is noted later, when nobody waits: see `FollowedHistory.know`."""
    feed = make_hub()
    edge = of(feed, 0, 0)
    latest = Client(edge)
    latest.ask(op="subscribe", topics=["tick:*"], since="none", mode="latest")
    latest.pump()
    latest.messages()
    first, second = CODES[:2]
    for number, codes in enumerate([(first, second), (second, first)], 1):
        publish(feed, *codes, time_ms=number)
        feed.flush()
        follow(edge, feed, settles=number == 1)
        latest.pump()
        assert latest.told() == [("live", code, number) for code in codes]
    asking = Client(edge)
    asking.ask(op="topics", pattern="tick:*")
    asking.ask(op="snapshot", topics=["tick:*"])
    asking.pump()
    listed, *told_of = asking.messages()
    assert {(each["topic"], each["seq"], each["time"]) for each in listed["topics"]} == {
        (f"tick:{code}", 2, 2) for code in (first, second)
    }
    assert set(told(told_of)) == {("snapshot", first, 2), ("snapshot", second, 2), ("snapshot_done",)}


@pytest.mark.parametrize(("lost", "cause"), [(False, "evicted"), (True, "relay")])
def test_what_was_before_the_beginning_is_announced_with_its_cause(lost: bool, cause: str) -> None:
    feed = make_hub()
    publish(feed, *CODES, *CODES[:2])
    feed.flush()
    edge = of(feed, 3, known_at=5, lost=lost)
    follow(edge, feed)
    client = Client(edge)
    client.ask(op="subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 0, "seq": {}})
    client.pump()
    messages = client.messages()
    gaps = {message["topic"]: message for message in messages if message["type"] == "gap"}
    assert {gap["cause"] for gap in gaps.values()} == {cause}
    assert {topic: (gap["from"], gap["to"]) for topic, gap in gaps.items()} == {
        f"tick:{code}": (1, 1) for code in CODES
    }
    gaps_since_then = {item[1] for item in story(edge, since={"time": 0}) if item[0] == "gap"}
    assert gaps_since_then == {f"tick:{code}" for code in CODES}
    rows = [item for item in told(messages) if item[0] in ("replay", "snapshot", "live")]
    assert rows == [("replay", "600001.SH", 2), ("replay", "600002.SH", 2)]


def test_rows_that_do_not_follow_are_refused() -> None:
    feed = make_hub()
    edge = of(feed, 0, 0)
    history = edge.history
    assert isinstance(history, FollowedHistory)
    topic = history.topic("tick", CODES[0])
    with pytest.raises(ValueError, match=r"row 2 of tick:600001.SH came after row 0"):
        history.extend([1], [topic], [2], [1], [1], [b"row"])
    history.extend([1], [topic], [1], [1], [1], [b"row"])
    with pytest.raises(ValueError, match=r"row 3 of tick:600001.SH came after row 1"):
        history.extend([2], [topic], [3], [1], [1], [b"row"])
