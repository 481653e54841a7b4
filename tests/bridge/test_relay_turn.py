"""Turns as messages: what is split is joined again, and what no feed wrote is refused."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.relay.joining import Joining
from bridge.relay.position import Position, TurnId
from bridge.relay.reach import Reach
from bridge.relay.turn import MalformedError, Part, Rows, decode, encode, encode_turn, no_rows, parts_of, pick, shard_of
from hub.past import GapNotice

EPOCH = "0123456789abcdef"
REACH = Reach(Position(7, 2), b"ab")
STATES = ((1000, 1000), (1003, 1007))
NOTICE = GapNotice(2, "tick:*", None, 17)


def rows_of(names: list[str], first_at: int = 1) -> Rows:
    ats = array("q", range(first_at, first_at + len(names)))
    seqs, times, recvs = (array("q", [at * n for at in ats]) for n in (3, 5, 7))
    pairs = zip(names, ats, strict=True)
    return Rows(names, ats, seqs, times, recvs, [name.encode() * (at % 3) for name, at in pairs])


def plain(rows: Rows) -> list[list[object]]:
    return [list(column) for column in rows]


def split(rows: Rows, shards: int, *notices: GapNotice) -> list[Part]:
    begin, end = Position(rows.ats[0] - 1, 1), Position(rows.ats[-1], 0)
    own = [shard_of(name, shards) for name in rows.names]
    turn = Part(0, EPOCH, TurnId(7, 9), begin, end, 0, rows, list(notices), STATES, reach=REACH)
    return [decode(message) for _, message in encode_turn(turn, own, parts_of(own, shards, notices))]


@given(
    st.lists(st.sampled_from([f"tick:{n:06}.SZ" for n in range(40)]), min_size=1, max_size=60),
    st.integers(1, 64),
    st.sampled_from([(), (NOTICE,)]),
)
def test_what_is_split_and_sent_is_joined_as_it_was(
    names: list[str], shards: int, notices: tuple[GapNotice, ...]
) -> None:
    rows = rows_of(names, first_at=1000)
    parts = split(rows, shards, *notices)
    assert [decode(encode(part)) for part in parts] == parts
    joining = Joining(parts[-1])
    for part in parts[-2::-1]:
        assert not joining.is_whole
        joining.put(part)
    assert joining.is_whole
    assert plain(joining.rows) == plain(rows)
    assert {part.shards for part in parts} == {sum(1 << part.shard for part in parts)}
    for part in parts:
        assert (part.epoch, part.turn, part.begin) == (EPOCH, TurnId(7, 9), Position(999, 1))
        assert part.end == Position(999 + len(names), 0)
        assert (part.notices, part.states, part.reach) == (list(notices), STATES, REACH)
        assert {shard_of(name, shards) for name in part.rows.names} <= {part.shard}


def test_every_shard_has_a_part_of_a_turn_that_tells_of_a_gap_and_those_with_rows_of_any_other() -> None:
    rows = rows_of(["tick:600000.SH"])
    assert [part.shard for part in split(rows, 16)] == [8]
    parts = split(rows, 16, NOTICE)
    assert [part.shard for part in parts] == list(range(16))
    assert [list(part.rows.names) for part in parts if part.rows.names] == [["tick:600000.SH"]]
    turn = Part(0, EPOCH, TurnId(1, 1), Position(3, 0), Position(3, 1), 1, no_rows(), [NOTICE])
    alone = [decode(message) for _, message in encode_turn(turn, [], parts_of([], 16, [NOTICE]))]
    assert alone == [turn._replace(shard=shard, shards=2**16 - 1) for shard in range(16)]


def test_the_shard_of_a_topic_is_the_same_in_every_version() -> None:
    assert [shard_of(name, 16) for name in ("tick:600000.SH", "tick:000001.SZ")] == [8, 15]
    assert {shard_of(name, 16) for name in ("status:SH", "status:SZ", "status:source.1", "status:")} == {12}


def test_what_no_feed_wrote_is_refused() -> None:
    message = encode(split(rows_of(["tick:600000.SH", "tick:000001.SZ"]), 1)[0])
    assert decode(message).rows.names == ["tick:600000.SH", "tick:000001.SZ"]
    for wrong in (b"", b"AT", message[:50], message[:-1], message + b"x", b"AT9\n" + message[4:]):
        with pytest.raises(MalformedError):
            decode(wrong)


def test_parts_that_do_not_make_a_turn_are_refused() -> None:
    """Rows would be missing, or come at another's place, and nobody would see it."""
    rows = rows_of([f"tick:{n:06}.SZ" for n in range(8)], first_at=100)
    first, *others = split(rows, 3)
    assert len(others) == 2
    for wrong in (others[0]._replace(end=Position(200, 0)), others[0]._replace(shards=first.shards | 8)):
        with pytest.raises(MalformedError, match="belong together"):
            Joining(first).put(wrong)
    lacking = pick(others[1].rows, range(1, len(others[1].rows.names)))
    joining = Joining(first)
    joining.put(others[0])
    joining.put(decode(encode(others[1]._replace(rows=lacking))))
    with pytest.raises(MalformedError, match="has 7 rows, and should have 8"):
        _ = joining.is_whole
    for begin in (98, 100, 107):  # outside, before it and behind
        moved = [part._replace(begin=Position(begin, 0), end=Position(begin + 8, 0)) for part in (first, *others)]
        with pytest.raises(MalformedError, match="outside"):
            [joining := Joining(moved[0]), *map(joining.put, moved[1:])]
    with pytest.raises(MalformedError, match="of a turn of"):
        Joining(first._replace(end=Position(1_000_000, 0)))


def test_turns_are_ordered_by_token_and_number() -> None:
    turns = [TurnId(2, 10), TurnId(1, 99), TurnId(2, 9)]
    assert sorted(turns) == [TurnId(1, 99), TurnId(2, 9), TurnId(2, 10)]
    assert [TurnId.parse(str(turn)) for turn in turns] == turns
    assert TurnId.parse("") < min(turns)
