"""Newest rows are written now and then, and a stream holds what came since: both together tell the newest."""

from bridge.relay.newest import Newest, Written, after, pack, unpack
from bridge.relay.position import TurnId
from tests.bridge.relay_conformance import part_of

OLD = Newest("tick:a.SH", 3, 35, b"3")


def test_what_follows_is_newer_and_the_newest_time_of_a_topic_never_falls() -> None:
    follow = [part_of(TurnId(1, 2), [("tick:a.SH", 4, b"4"), ("tick:b.SH", 5, b"5")])]
    assert after([OLD._replace(newest_time_ms=99)], follow) == [
        Newest("tick:a.SH", 4, 99, b"4"),
        Newest("tick:b.SH", 5, 50, b"5"),
    ]


def test_what_is_known_may_be_ahead_of_the_stream() -> None:
    assert after([OLD], [part_of(TurnId(1, 1), [("tick:a.SH", 2, b"2")])]) == [OLD]


def test_newest_rows_travel_as_one_piece() -> None:
    rows = [OLD, Newest("tick:b.SH", 1, -1, b"\0\xff")]
    assert unpack(pack(rows)) == rows


def test_they_are_due_after_so_many_rows_those_that_wait_longest_first() -> None:
    written = Written(100)
    written.begin(range(3), 0)
    assert written.due((0, 1), 99) is None
    assert written.due((0, 1), 100) == 0
    written.note(0, TurnId(5, 7), 100)
    assert written.due((0, 1), 101) == 1
    assert written.due((0,), 199) is None


def test_a_stream_reaches_back_to_where_they_were_written() -> None:
    written, turn = Written(100), TurnId(5, 9)
    assert written.keep_from(2, turn) == TurnId(0, 0)
    assert written.due((2,), 0) == 2
    written.note(2, TurnId(5, 7), 100)
    assert written.keep_from(2, turn) == TurnId(5, 7)
    assert written.keep_from(2, TurnId(5, 3)) == TurnId(5, 3)
    written.forget()
    assert written.keep_from(2, turn) == TurnId(0, 0)
