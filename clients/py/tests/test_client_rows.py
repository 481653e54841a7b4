import pickle
from typing import Any

import pytest
from fake_hub import BAR_FIELDS, L2ORDER_FIELDS, TICK_FIELDS, tick

from argus_client import Bar, ProtocolError, Tick
from argus_client.rows import Origin, Schemas


def make(origin: Origin = "live", **values: Any) -> Any:
    return Schemas({"tick": TICK_FIELDS}).rows("tick", origin, [list(tick(**values).values())])[0]


def test_a_row_has_its_fields_as_attributes_with_topic_and_origin() -> None:
    row = make(origin="snapshot", seq=12, lastPrice=11.39)
    assert (row.code, row.seq, row.lastPrice, row.askPrice) == ("600000.SH", 12, 11.39, [7.32, 7.33])
    assert (row.topic, row.origin) == ("tick:600000.SH", "snapshot")


def test_a_row_as_a_dict_has_the_announced_fields_in_order() -> None:
    assert make(seq=3).as_dict() == tick(seq=3)
    assert list(make().as_dict()) == TICK_FIELDS


def test_a_row_shows_its_class_and_fields() -> None:
    assert repr(make(seq=12)).startswith("Tick(code='600000.SH', seq=12, time=1654047036000, ")
    assert repr(make(seq=12)).endswith("origin='live')")


def test_rows_are_of_the_class_that_documents_their_channel() -> None:
    schemas = Schemas({"tick": TICK_FIELDS, "1m": BAR_FIELDS, "l2order": L2ORDER_FIELDS})
    assert isinstance(schemas.rows("tick", "live", [list(tick().values())])[0], Tick)
    assert isinstance(schemas.rows("1m", "live", [range(len(BAR_FIELDS))])[0], Bar)
    order = schemas.rows("l2order", "live", [range(len(L2ORDER_FIELDS))])[0]
    assert type(order).__name__ == "Row"
    assert order.entrustNo == L2ORDER_FIELDS.index("entrustNo")  # type: ignore[attr-defined]


def test_the_order_of_fields_is_the_hubs() -> None:
    row: Any = Schemas({"tick": ["lastPrice", "seq", "code"]}).rows("tick", "live", [[7.3, 1, "A.SH"]])[0]
    assert (row.code, row.seq, row.lastPrice) == ("A.SH", 1, 7.3)


def test_values_beyond_the_announced_fields_are_ignored() -> None:
    row = Schemas({"tick": ["code", "seq"]}).rows("tick", "live", [["A.SH", 1, "from a later version"]])[0]
    assert row.as_dict() == {"code": "A.SH", "seq": 1}


def test_a_row_that_is_too_short_is_an_error_and_not_a_row_of_nothing() -> None:
    with pytest.raises(ProtocolError, match="a row of channel tick has 1 values instead of 2"):
        Schemas({"tick": ["code", "seq"]}).rows("tick", "live", [["A.SH"]])


def test_rows_of_a_channel_that_was_not_announced_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="channel 5m, which it had not announced"):
        Schemas({"tick": TICK_FIELDS}).rows("5m", "live", [])


@pytest.mark.parametrize("fields", [["code"], ["seq"], ["code", "seq", "code"]])
def test_a_schema_must_have_code_and_seq_and_no_field_twice(fields: list[str]) -> None:
    with pytest.raises(ProtocolError, match="the schema of channel tick"):
        Schemas({"tick": fields})


def test_a_field_with_a_name_of_the_class_itself_stays_reachable() -> None:
    fields = ["code", "seq", "origin", "count", "__class__"]
    row = Schemas({"x": fields}).rows("x", "live", [["A.SH", 1, "field", 5, "c"]])[0]
    assert row.origin == "live"
    assert row.as_dict() == {"code": "A.SH", "seq": 1, "origin": "field", "count": 5, "__class__": "c"}


def test_a_row_survives_pickling_for_other_processes() -> None:
    row = make(origin="replay", seq=7)
    again = pickle.loads(pickle.dumps(row))  # noqa: S301 - our own bytes
    assert again == row
    assert (type(again), again.origin) == (type(row), "replay")
