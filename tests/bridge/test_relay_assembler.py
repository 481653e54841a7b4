"""Parts of turns are put together: each row once, in order, and a hole is seen."""

from array import array

import pytest

from bridge.relay.assembler import Assembler
from bridge.relay.logreader import Stretch
from bridge.relay.position import Position, TurnId
from bridge.relay.turn import NUMBERS_BYTES, MalformedError, Part, Rows, decode, encode_turn, parts_of, pick, shard_of
from hub.past import GapNotice

EPOCH = "0123456789abcdef"
CODES = "tick:a", "tick:b", "tick:c", "tick:d"


def turn(number: int, begin: Position, count: int, *notices: GapNotice, token: int = 1) -> list[Part]:
    """The parts of a turn: its rows are of all topics in turn, and are named after their arrival numbers."""
    ats = array("q", range(begin.at + 1, begin.at + count + 1))
    names = [CODES[at % len(CODES)] for at in ats]
    rows = Rows(names, ats, ats[:], ats[:], ats[:], [b"%d" % at for at in ats])
    end = begin.at + count
    told = len([notice for notice in notices if notice.after_at == end]) + (begin.told if not count else 0)
    own = [shard_of(name, 3) for name in names]
    whole = Part(0, EPOCH, TurnId(token, number), begin, Position(end, told), 0, rows, notices)
    return [decode(message) for _, message in encode_turn(whole, own, parts_of(own, 3, notices))]


def put(assembler: Assembler, parts: list[Part]) -> list[Stretch]:
    for part in parts:
        assembler.put(part)
    return list(assembler.take())


def rows_of(stretches: list[Stretch]) -> list[int]:
    return [int(row) for stretch in stretches for row in stretch.rows.rows]


def notice(after_at: int, name: str = "x") -> GapNotice:
    return GapNotice(after_at, f"tick:{name}", None, None)


START = Position(0, 0)


def test_a_turn_is_handed_out_when_all_its_parts_are_here_and_in_order() -> None:
    assembler, parts = Assembler(EPOCH, START, 3), turn(1, START, 12)
    assert len(parts) > 1
    assert put(assembler, parts[1:]) == []
    assert not assembler.has_hole
    assert rows_of(put(assembler, parts[:1])) == list(range(1, 13))
    assert (assembler.position, assembler.applied) == (Position(12, 0), TurnId(1, 1))


def test_what_comes_twice_is_handed_out_once() -> None:
    assembler, parts = Assembler(EPOCH, START, 3), turn(1, START, 5)
    assert rows_of(put(assembler, parts + parts)) == [1, 2, 3, 4, 5]
    assert put(assembler, parts) == []
    assert not assembler.has_hole


def test_a_turn_that_is_missing_is_a_hole_until_it_comes() -> None:
    assembler = Assembler(EPOCH, START, 3)
    first, second = turn(1, START, 3), turn(2, Position(3, 0), 3)
    assert put(assembler, second) == []
    assert assembler.has_hole
    assert rows_of(put(assembler, first)) == [1, 2, 3, 4, 5, 6]
    assert not assembler.has_hole


def test_a_part_that_is_missing_is_a_hole_when_the_next_turn_comes() -> None:
    assembler = Assembler(EPOCH, START, 3)
    assert put(assembler, turn(1, START, 12)[1:]) == []
    assert not assembler.has_hole
    assert put(assembler, turn(2, Position(12, 0), 3)) == []
    assert assembler.has_hole


def test_a_turn_of_a_newer_feed_goes_on_where_a_half_one_of_the_older_was() -> None:
    assembler = Assembler(EPOCH, START, 3)
    put(assembler, turn(1, START, 4))
    put(assembler, turn(2, Position(4, 0), 12)[1:])
    again = put(assembler, turn(1, Position(4, 0), 14, token=2))
    assert rows_of(again) == list(range(5, 19))
    assert not assembler.has_hole
    assert assembler.applied == TurnId(2, 1)


def test_of_a_turn_that_reaches_back_only_the_rest_is_handed_out() -> None:
    assembler = Assembler(EPOCH, Position(6, 1), 3)
    notices = notice(4), notice(6, "known"), notice(6, "new"), notice(8)
    (stretch,) = put(assembler, turn(1, Position(2, 0), 6, *notices))
    assert (stretch.begin, stretch.end) == (Position(6, 1), Position(8, 1))
    assert rows_of([stretch]) == [7, 8]
    assert stretch.notices == [notice(6, "new"), notice(8)]


def test_a_turn_may_begin_between_two_notices_of_one_place() -> None:
    assembler = Assembler(EPOCH, Position(3, 2), 3)
    (stretch,) = put(assembler, turn(1, Position(3, 1), 2, notice(3, "second"), notice(3, "third")))
    assert stretch.notices == [notice(3, "third")]
    assert rows_of([stretch]) == [4, 5]


def test_notices_alone_move_the_position() -> None:
    assembler = Assembler(EPOCH, Position(3, 0), 3)
    (stretch,) = put(assembler, turn(1, Position(3, 0), 0, notice(3)))
    assert (stretch.notices, assembler.position) == ([notice(3)], Position(3, 1))
    assert put(assembler, turn(1, Position(3, 0), 0, notice(3))) == []


def test_an_answer_of_the_feed_goes_on_and_what_waited_follows() -> None:
    assembler = Assembler(EPOCH, START, 3)
    put(assembler, turn(3, Position(6, 0), 3))
    (answer,) = turn(0, START, 1)
    assert rows_of([found]) == [1] if (found := assembler.take_answer(answer)) else pytest.fail("nothing")
    assert assembler.take_answer(answer) is None
    with pytest.raises(ValueError, match="behind"):
        assembler.take_answer(turn(0, Position(2, 0), 1)[0])
    assert rows_of(put(assembler, turn(2, Position(1, 0), 5))) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_a_turn_that_could_not_be_put_together_can_come_again() -> None:
    """In the stream is what it should be, however it was damaged on its way."""
    parts = turn(1, START, 12)
    strange = parts[1]._replace(end=Position(13, 0))
    shifted = parts[1]._replace(rows=parts[1].rows._replace(ats=[at + 12 for at in parts[1].rows.ats]))
    short = parts[1]._replace(rows=pick(parts[1].rows, [0]), numbers=parts[1].numbers[:NUMBERS_BYTES])
    assert len(parts[1].rows.rows) > 1
    for wrong in (strange, shifted, short):
        assembler = Assembler(EPOCH, START, 3)
        with pytest.raises(MalformedError):
            put(assembler, [parts[0], wrong, *parts[2:]])
        assert assembler.position == START
        assert rows_of(put(assembler, parts)) == list(range(1, 13))
        assert not assembler.has_hole


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.relay.waiting.MAX_ROWS", 20)
    assembler = Assembler(EPOCH, START, 3)
    for number in range(2, 10):
        put(assembler, turn(number, Position(number * 10, 0), 10))
    assert assembler.let_go > 0
    assert assembler.has_hole
