"""What an edge of few shards is handed: its own rows in order, nothing skipped, and nothing that is half published."""

from array import array

import pytest
from msgspec.structs import replace

from bridge.relay import waiting
from bridge.relay.partial import PartialAssembler
from bridge.relay.position import Position, TurnId
from bridge.relay.reach import Reach, Reached
from bridge.relay.share import Share, share_of, whole
from bridge.relay.state import Estate, Published, Reign
from bridge.relay.turn import MalformedError, Part, Rows, decode, encode_turn, parts_of, shard_of
from hub.past import GapNotice
from tests.bridge.support.relaying import SHARDS, few, state_of
from tests.hub.support.core import EPOCH

OWN, OTHER, FAR = "tick:600001.SH", "tick:600004.SH", "tick:600000.SH"
"""In shard 1, 3, and 0; in shard 1 is a neighbour that is not served, in shard 2 another own one."""
NEIGHBOUR, SECOND = "tick:600007.SH", "tick:600003.SH"
START = Position(0, 0)
NOTICE = GapNotice(0, "tick:*", None, 5)


def test_the_topics_of_these_tests_lie_where_they_should() -> None:
    assert [shard_of(name, SHARDS) for name in (OWN, NEIGHBOUR, SECOND, OTHER, FAR)] == [1, 1, 2, 3, 0]


class Feed:
    """Publishes turns of its own, and says how far the shards have come."""

    def __init__(self, begin: Position = START, token: int = 1) -> None:
        self.position = begin
        self.token = token
        self.number = 0
        self.reached = Reached(SHARDS)
        self.reached.begin(begin)

    def turn(self, *names: str, notices: int = 0) -> list[Part]:
        """A turn of rows of these topics, and notices behind them; all of it is published when it returns."""
        begin = self.position
        ats = array("q", range(begin.at + 1, begin.at + len(names) + 1))
        rows = Rows(
            names, ats, ats[:], ats[:], ats[:], [f"{name} {at}".encode() for name, at in zip(names, ats, strict=True)]
        )
        end = Position(begin.at + len(names), notices + (0 if names else begin.told))
        told = [NOTICE._replace(after_at=end.at)] * notices
        own = [shard_of(name, SHARDS) for name in names]
        parts = parts_of(own, SHARDS, told)
        self.number += 1
        turn = TurnId(self.token, self.number)
        part = Part(0, EPOCH, turn, begin, end, 0, rows, told, reach=self.reached.now())
        self.reached.note(parts, end)
        self.position = end
        return [decode(message) for _, message in encode_turn(part, own, parts)]

    def told(self) -> Published:
        return Published(self.token, EPOCH, *self.position, self.reached.now())


class Edge:
    def __init__(self, *names: str, begin: Position = START) -> None:
        self.share = few(*names)
        self.rows: list[str] = []
        self.notices = 0
        self.assembler = PartialAssembler(EPOCH, begin, self.share, state_of()(1, begin))

    def hears(self, parts: list[Part], told: Published | None = None) -> None:
        """What is published of turns, as far as it is in its shards, and then what the feed confirms."""
        for part in parts:
            if part.shard in self.share.shards:
                self.assembler.put(part)
        if told is not None:
            self.assembler.hear(told)
        self._take()

    def reads(self, parts: list[Part]) -> None:
        """What the streams have of turns."""
        for part in parts:
            if part.shard in self.share.shards:
                self.assembler.put_kept(part)
        self._take()

    def _take(self) -> None:
        for stretch in self.assembler.take():
            assert stretch.begin < stretch.end == self.assembler.position
            self.rows += [row.decode() for row in stretch.rows.rows]
            self.notices += len(stretch.notices)


def test_a_turn_is_handed_out_when_its_feed_has_said_that_all_of_it_is_published() -> None:
    feed, edge = Feed(), Edge(OWN)
    edge.hears(feed.turn(OTHER, OWN, NEIGHBOUR, OWN, FAR))
    assert edge.rows == []
    assert not edge.assembler.has_hole
    edge.hears([], feed.told())
    assert edge.rows == [f"{OWN} 2", f"{OWN} 4"]
    assert edge.assembler.position == Position(5, 0)


def test_a_turn_says_that_the_one_before_it_is_published() -> None:
    feed, edge = Feed(), Edge(OWN)
    edge.hears(feed.turn(OWN, OTHER))
    edge.hears(feed.turn(OTHER))
    assert edge.rows == []  # nothing of that one came
    edge.hears(feed.turn(OWN))
    assert edge.rows == [f"{OWN} 1"]


def test_turns_of_others_leave_no_hole_and_move_the_position_on() -> None:
    feed, edge = Feed(), Edge(OWN)
    edge.hears(feed.turn(OWN), feed.told())
    for _ in range(3):
        edge.hears(feed.turn(OTHER, OTHER), feed.told())
        assert not edge.assembler.has_hole
    assert edge.assembler.position == Position(7, 0)
    edge.hears(feed.turn(OTHER, OWN), feed.told())
    assert edge.rows == [f"{OWN} 1", f"{OWN} 9"]


@pytest.mark.parametrize("is_told", [False, True])
def test_a_turn_of_its_own_that_did_not_come_is_a_hole(is_told: bool) -> None:
    feed, edge = Feed(), Edge(OWN)
    edge.hears(feed.turn(OWN), feed.told())
    lost = feed.turn(OTHER, OWN)
    edge.hears([], feed.told()) if is_told else edge.hears(feed.turn(OTHER, OWN))
    assert edge.assembler.has_hole
    assert edge.rows == [f"{OWN} 1"]
    edge.hears(lost, feed.told())
    assert not edge.assembler.has_hole
    assert edge.rows == [f"{OWN} 1", f"{OWN} 3", *([] if is_told else [f"{OWN} 5"])]


def test_a_turn_is_put_together_of_the_parts_that_are_taken() -> None:
    feed, edge = Feed(), Edge(OWN, SECOND)
    parts = feed.turn(SECOND, OWN, OTHER, SECOND, OWN)
    edge.hears([part for part in parts if part.shard != 1], feed.told())
    assert edge.rows == []
    edge.hears(parts, feed.told())
    assert edge.rows == [f"{SECOND} 1", f"{OWN} 2", f"{SECOND} 4", f"{OWN} 5"]
    edge.hears(parts, feed.told())
    assert len(edge.rows) == 4


def test_what_is_told_of_gaps_comes_to_everybody_and_is_missed_when_it_does_not() -> None:
    feed, edge = Feed(), Edge(OWN)
    edge.hears(feed.turn(OTHER, notices=1), feed.told())
    assert (edge.notices, edge.assembler.position) == (1, Position(1, 1))
    lost = feed.turn(notices=1)  # at the same row
    edge.hears(feed.turn(OWN), feed.told())
    assert edge.assembler.has_hole
    assert edge.rows == []
    edge.hears(lost, feed.told())
    assert (edge.notices, edge.rows) == (2, [f"{OWN} 2"])


def test_what_a_feed_that_died_has_half_published_is_nobody_s() -> None:
    first, edge = Feed(), Edge(OWN)
    edge.hears(first.turn(OWN), first.told())
    edge.hears(first.turn(OTHER, OWN, OTHER))  # whole for this edge; the feed died before it had published the rest
    second = Feed(Position(1, 0), token=2)
    told = second.told()
    published = second.turn(OTHER, OTHER, OWN, OWN, OWN)
    edge.hears(published)  # what it tells comes by another way
    edge.hears(second.turn(OWN))
    assert edge.rows == [f"{OWN} 1"]
    edge.hears([], told)
    edge.hears([], second.told())
    assert edge.rows == [f"{OWN} 1", f"{OWN} 4", f"{OWN} 5", f"{OWN} 6", f"{OWN} 7"]


@pytest.mark.parametrize("is_late", [False, True])
def test_what_another_feed_has_numbered_anew_is_nobody_s_though_a_stream_has_it(is_late: bool) -> None:
    """It should not have it: who takes over with half a turn there fills all shards anew."""
    first, edge = Feed(), Edge(OWN)
    edge.hears(first.turn(OWN), first.told())
    half = first.turn(OTHER, OWN)
    second = Feed(Position(1, 0), token=2)
    second.turn(OTHER, OTHER, OWN)
    told = second.told()
    reign, reach = Reign(2, 1, 0), second.reached.now()
    state = replace(state_of()(2, told.position), estate=Estate(reigns=(reign,)), reach=reach)
    edge.hears([], told)
    edge.assembler.hear(replace(state, at=1) if is_late else state)  # late: told before, and came by another way
    edge.reads(half)
    assert edge.rows == [f"{OWN} 1"]
    assert edge.assembler.has_hole


def test_what_a_feed_before_has_published_and_nobody_confirmed_comes_from_the_streams() -> None:
    first, edge = Feed(), Edge(OWN)
    published = first.turn(OTHER, OWN)
    edge.hears(published)
    second = Feed(Position(2, 0), token=2)
    edge.hears([], second.told())
    assert edge.assembler.has_hole
    edge.hears(published)  # as late as that it could be of a turn that was never whole
    assert edge.rows == []
    edge.reads(published)
    assert edge.rows == [f"{OWN} 2"]
    assert not edge.assembler.has_hole


def test_what_an_older_feed_tells_and_what_comes_late_counts_for_nothing() -> None:
    old, edge = Feed(), Edge(OWN)
    late, older = old.told(), Feed(Position(9, 0), token=0)
    edge.hears(old.turn(OWN))
    edge.hears([], older.told())
    assert edge.rows == []
    edge.hears([], old.told())
    assert edge.rows == [f"{OWN} 1"]
    lost = old.turn(OWN)
    edge.hears([], old.told())
    edge.hears([], late)
    assert edge.assembler.has_hole
    edge.hears(lost)
    assert edge.assembler.position == Position(2, 0)


def test_the_feed_s_answer_goes_on_and_only_what_is_served_is_taken_of_it() -> None:
    feed, edge = Feed(), Edge(OWN)
    feed.turn(OTHER, OWN)
    waiting = feed.turn(OWN)
    edge.hears(waiting, feed.told())
    assert edge.assembler.has_hole
    ats = array("q", [1, 2, 3])
    rows = Rows([OTHER, OWN, NEIGHBOUR], ats, ats, ats, ats, [b"1", b"2", b"3"])
    answer = Part(0, EPOCH, TurnId(1, 0), START, Position(2, 0), 0, Rows(*(column[:2] for column in rows)), [])
    stretch = edge.assembler.take_answer(answer)
    assert stretch is not None
    assert (stretch.rows.names, stretch.rows.rows, stretch.end) == ([OWN], [b"2"], Position(2, 0))
    assert edge.assembler.take_answer(answer) is None
    with pytest.raises(ValueError, match="behind"):
        edge.assembler.take_answer(answer._replace(begin=Position(3, 0), end=Position(4, 0)))
    edge.hears([])
    assert edge.rows == [f"{OWN} 3"]


def test_an_answer_of_which_some_is_known_is_cut() -> None:
    edge = Edge(OWN, begin=Position(2, 0))
    ats = array("q", [1, 2, 3])
    answer = Part(0, EPOCH, TurnId(1, 0), START, Position(3, 0), 0, Rows([OWN] * 3, ats, ats, ats, ats, [b""] * 3), [])
    stretch = edge.assembler.take_answer(answer)
    assert stretch is not None
    assert list(stretch.rows.ats) == [3]


def test_parts_that_do_not_fit_are_refused_and_may_come_again() -> None:
    feed, edge = Feed(), Edge(OWN, SECOND)
    one, other = (part for part in feed.turn(OWN, SECOND) if part.shard in edge.share.shards)
    wrong = other._replace(end=Position(9, 0))
    for parts in ([wrong, one], [one, wrong]):
        with pytest.raises(MalformedError, match="do not belong together"):
            edge.hears(parts, feed.told())
    with pytest.raises(MalformedError, match="two in one place"):
        edge.hears([one, other._replace(rows=other.rows._replace(ats=one.rows.ats))], feed.told())
    edge.hears([one, other], feed.told())
    assert edge.rows == [f"{OWN} 1", f"{SECOND} 2"]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MAX_ROWS", 10)
    feed, edge = Feed(), Edge(OWN)
    feed.turn(OWN)
    for _ in range(5):
        edge.hears(feed.turn(OWN, OWN, OWN, OTHER))
    assert edge.assembler.let_go == 12  # with one for each turn
    assert edge.assembler.has_hole
    feed, edge = Feed(), Edge(OWN)
    feed.turn(OWN)
    for _ in range(12):  # nothing of it is served, and it is held
        edge.hears(feed.turn(NEIGHBOUR))
    assert edge.assembler.let_go == 11
    feed, edge = Feed(), Edge(OWN)
    for _ in range(5):
        edge.hears(feed.turn(OWN, OWN, OWN, OTHER), feed.told())
    assert (edge.assembler.let_go, len(edge.rows)) == (0, 15)


@pytest.mark.parametrize("silent_rows", [1, 2**16 - 1, 2**16, 2**40])
def test_how_long_a_shard_was_silent_is_known_exactly(silent_rows: int) -> None:
    reached = Reached(2)
    reached.begin(START)
    reached.note([0, 1], Position(10, 1))
    reached.note([1], Position(12, 0))
    place = Position(12 + silent_rows, 0)
    reached.note([0], place)
    now = reached.now()
    assert now.need(place, [1]) == Position(12, 0)
    assert now.need(place, [0, 1]) == place
    assert len(now.behind) == (5 if silent_rows < 2**16 else 17)
    again = Reached(2)
    again.go_on(place, now)
    assert (again.place, again.now()) == (place, now)
    other = Reached(3)  # of another number of shards
    other.go_on(place, now)
    assert other.place is None
    assert Reach().need(place, [1]) == place


def test_where_another_feed_has_published_everything_up_to_there_concerns_everybody() -> None:
    reached = Reached(2)
    reached.begin(Position(7, 2))
    assert reached.now().need(Position(7, 2), [1]) == Position(7, 2)
    reached.note([0], Position(9, 0))
    reached.begin(Position(9, 0))  # the same feed goes on
    assert reached.now().need(Position(9, 0), [1]) == Position(7, 2)
    reached.begin(Position(12, 0))
    assert reached.now().need(Position(12, 0), [1]) == Position(12, 0)


def test_who_serves_topics_in_all_shards_takes_everything() -> None:
    def serves(name: str) -> bool:
        return name == OWN

    assert share_of([OWN], serves, SHARDS) == Share(frozenset({0, 1}), serves, is_whole=False)
    assert share_of([OWN, SECOND, OTHER], serves, SHARDS).is_whole
    assert share_of([OWN], serves, 1).is_whole
    assert whole(3).shards == range(3)
