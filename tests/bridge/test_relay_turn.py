"""Turns as messages: what is split is spliced again, and what no feed wrote is refused."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.relay.turn import (
    MalformedError,
    Part,
    Position,
    Rows,
    TurnId,
    decode,
    encode,
    encode_turn,
    no_rows,
    shard_of,
    splice,
)
from hub.past import GapNotice

EPOCH = "0123456789abcdef"
STATES = ((1000, 1000), (1003, 1007))
NOTICE = GapNotice(2, "tick:*", None, 17)


def rows_of(names: list[str], first_at: int = 1) -> Rows:
    ats = array("q", range(first_at, first_at + len(names)))
    seqs, times, recvs = (array("q", [at * n for at in ats]) for n in (3, 5, 7))
    pairs = zip(names, ats, strict=True)
    return Rows(names, ats, seqs, times, recvs, [name.encode() * (at % 3) for name, at in pairs])


def plain(rows: Rows) -> list[list[object]]:
    return [list(column) for column in rows]


def parts_of(rows: Rows, shards: int) -> list[Part]:
    begin, end = Position(rows.ats[0] - 1, 1), Position(rows.ats[-1], 0)
    own = [shard_of(name, shards) for name in rows.names]
    turn = Part(0, EPOCH, TurnId(7, 9), begin, end, 0, rows, [NOTICE], STATES)
    return [decode(message) for _, message in encode_turn(turn, own)]


@given(st.lists(st.sampled_from([f"tick:{n:06}.SZ" for n in range(40)]), min_size=1, max_size=60), st.integers(1, 64))
def test_what_is_split_and_sent_is_spliced_as_it_was(names: list[str], shards: int) -> None:
    rows = rows_of(names, first_at=1000)
    parts = parts_of(rows, shards)
    assert [decode(encode(part)) for part in parts] == parts
    assert plain(splice([part.rows for part in reversed(parts)])) == plain(rows)
    assert {part.shards for part in parts} == {sum(1 << part.shard for part in parts)}
    for part in parts:
        assert (part.epoch, part.turn, part.begin) == (EPOCH, TurnId(7, 9), Position(999, 1))
        assert part.end == Position(999 + len(names), 0)
        assert part.notices == [NOTICE]
        assert part.states == STATES
        assert {shard_of(name, shards) for name in part.rows.names} == {part.shard}


def test_a_turn_without_rows_is_a_part_of_the_first_shard() -> None:
    turn = Part(0, EPOCH, TurnId(1, 1), Position(3, 0), Position(3, 1), 1, no_rows(), [NOTICE])
    ((shard, message),) = encode_turn(turn, [])
    assert shard == 0
    assert decode(message) == turn


def test_the_shard_of_a_topic_is_the_same_in_every_version() -> None:
    assert [shard_of(name, 16) for name in ("tick:600000.SH", "tick:000001.SZ", "status:SH")] == [8, 15, 12]


def test_what_no_feed_wrote_is_refused() -> None:
    message = encode(parts_of(rows_of(["tick:600000.SH", "tick:000001.SZ"]), 1)[0])
    assert decode(message).rows.names == ["tick:600000.SH", "tick:000001.SZ"]
    for wrong in (b"", b"AT", message[:50], message[:-1], message + b"x", b"AT9\n" + message[4:]):
        with pytest.raises(MalformedError):
            decode(wrong)


def test_turns_are_ordered_by_token_and_number() -> None:
    turns = [TurnId(2, 10), TurnId(1, 99), TurnId(2, 9)]
    assert sorted(turns) == [TurnId(1, 99), TurnId(2, 9), TurnId(2, 10)]
    assert [TurnId.parse(str(turn)) for turn in turns] == turns
    assert TurnId.parse("") < min(turns)
