"""Rows in columns are the rows that were packed, in whatever part they are asked for."""

import pytest

from hub.rows import Rows, pack_rows
from hub.schema import CHANNELS, Row
from tests.hub.support.core import JSON, MSGPACK, Client, make_hub, packed, row_of, tick

ROWS = [tick("600000.SH", 5, 8.01), tick("000001.SZ", 7, None, 9.5), tick("600000.SH", 6)]


def test_as_a_sequence_they_are_what_was_packed() -> None:
    rows = packed(*ROWS)
    assert (len(rows), list(rows), rows[1]) == (3, ROWS, ROWS[1])
    assert (list(rows.codes), list(rows.times)) == (["600000.SH", "000001.SZ", "600000.SH"], [5, 7, 6])


@pytest.mark.parametrize("part", [slice(1, None), slice(0, 2), slice(3, 3)], ids=str)
def test_a_part_of_them_is_that_part(part: slice) -> None:
    found = packed(*ROWS)[part]
    assert isinstance(found, Rows)
    assert list(found) == ROWS[part]


@pytest.mark.parametrize("places", [[], [2], [0, 2], [0, 1, 2]], ids=str)
def test_some_of_them_are_those(places: list[int]) -> None:
    assert list(packed(*ROWS).pick(places)) == [ROWS[place] for place in places]


@pytest.mark.parametrize("channel", CHANNELS)
def test_rows_of_every_channel_come_back_as_they_were(channel: str) -> None:
    row = row_of(channel, "600000.SH", 5, 1.5)
    assert list(packed(row, channel=channel)) == [row]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("600000.SH", 1), "tick row of 2 values instead of 18"),
        (tick("600000.SH", 1, ...), "tick row that can't be encoded"),
        (tick("600000.SH", 2**63), "tick row that can't be encoded"),
        (tick("600000.SH", 1.5), "tick row that can't be encoded"),  # type: ignore[arg-type]
        (tick("600000.SH", None), "tick row that can't be encoded"),  # type: ignore[arg-type]
        (tick(600000, 1), "tick row that can't be encoded"),  # type: ignore[arg-type]
        (tick("\ud800.SH", 1), "tick row that can't be encoded"),
        (tick("600000.SH", 1, "\ud800"), "tick row that can't be encoded"),
    ],
    ids=str,
)
def test_a_row_that_can_not_be_packed_is_left_out_with_the_reason(row: Row, reason: str) -> None:
    rows, refused = pack_rows("tick", [ROWS[0], row, ROWS[1]])
    assert list(rows) == ROWS[:2]
    assert [said[: len(reason)] for said in refused] == [reason]


def test_a_row_that_can_not_be_said_in_one_encoding_gives_up_its_clients_and_reaches_the_others() -> None:
    """As text that is no UTF-8, which only a faulty feeder can bring."""
    hub = make_hub()
    json_client, msgpack_client = Client(hub, codec=JSON), Client(hub, codec=MSGPACK)
    for client in (json_client, msgpack_client):
        client.ask("subscribe", topics=["tick:*"], since="none")
        client.pump()
        client.messages()
    good = packed(tick("600000.SH", 5))
    hub.publish("tick", Rows("tick", good.codes, good.times, [good.packed[0][:-1] + b"\xa1\xff"]), 17)
    hub.flush()
    assert (json_client.overflows, msgpack_client.overflows) == (1, 0)
    hub.publish("tick", [tick("600000.SH", 6)], 18)
    hub.flush()
    assert msgpack_client.outbox.at(hub.history.delivered_at) == 2
