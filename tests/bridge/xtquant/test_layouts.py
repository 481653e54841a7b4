"""Ticks by their layout: what comes out is what xtquant's own decoder reads, or the bytes for that to decode."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.xtquant.layouts import Layouts
from bridge.xtquant.package import load
from bridge.xtquant.ticks import FIELDS, fields_of
from tests.bridge.xtquant.support.bson import encode
from tests.bridge.xtquant.support.terminal import TEN_MS, codes_of, tick

WHOLE = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False)
TICKS = st.fixed_dictionaries(
    {
        name: st.lists(REAL if name.endswith("Price") else WHOLE, max_size=10)
        if name in ("askPrice", "bidPrice", "askVol", "bidVol")
        else st.one_of(REAL, WHOLE)
        for name in FIELDS
    },
    optional={"pe": REAL, "speed1Min": REAL},
)


def plain(fields: Any) -> tuple[Any, ...]:
    return tuple(list(one) if isinstance(one, tuple) else one for one in fields)


@given(st.dictionaries(st.sampled_from(codes_of(5)), TICKS))
def test_the_fields_are_those_of_the_document_whatever_its_numbers(ticks: dict[str, dict[str, Any]]) -> None:
    read = dict(Layouts(FIELDS).read(encode(ticks)))
    assert {code: plain(fields) for code, fields in read.items()} == {
        code: fields_of(one) for code, one in ticks.items()
    }


def test_it_reads_what_xtquant_s_own_decoder_reads(folder: Path) -> None:
    decode = load(folder, "xtbson").BSON.decode
    ticks = {code: tick(TEN_MS + place, 10 + place / 7) for place, code in enumerate(codes_of(50))}
    data = encode(ticks)
    assert dict(decode(data)) == ticks, "what the tests write is BSON"
    decoded = {code: plain(fields_of(one)) for code, one in decode(data).items()}
    assert {code: plain(fields) for code, fields in Layouts(FIELDS).read(data)} == decoded


def test_an_optional_field_that_is_lacking_is_none() -> None:
    old = tick(TEN_MS)
    del old["pvolume"], old["transactionNum"]
    ((_, fields),) = Layouts(FIELDS).read(encode({"600000.SH": old}))
    assert dict(zip(FIELDS, fields, strict=True))["pvolume"] is None
    assert dict(zip(FIELDS, fields, strict=True))["lastPrice"] == 10.0


def test_a_document_with_more_than_numbers_comes_as_it_is() -> None:
    odd = {**tick(TEN_MS), "name": "浦发银行"}
    layouts = Layouts(FIELDS)
    data = encode({"600000.SH": odd, "600001.SH": tick(TEN_MS)})
    (_, first), (_, second) = layouts.read(data)
    assert isinstance(first, bytes)
    assert isinstance(second, tuple)
    assert first == encode(odd)


def test_another_name_of_the_same_length_is_another_layout() -> None:
    layouts = Layouts(("time", "askPrice"))
    first = encode({"a.SH": {"time": 1, "askPrice": [1.0]}})
    other = encode({"a.SH": {"time": 1, "bidPrice": [2.0]}})
    assert [fields for _, fields in layouts.read(first)] == [(1, (1.0,))]
    assert [fields for _, fields in layouts.read(other)] == [(1, None)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\0\0",
        b"\x06\0\0\0\0",
        encode({"a": 5}),
        encode({"a": {"b": 1}})[:-1],
        struct.pack("<i", 12) + b"\x03a\0\xff\xff\xff\x7f\0",
        struct.pack("<i", 12) + b"\x03a\0\0\0\0\0\0",
        struct.pack("<i", 8) + b"\x03aa\0",
    ],
)
def test_what_is_no_document_of_documents_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"document|size"):
        list(Layouts(FIELDS).read(data))


@given(st.binary(max_size=200))
def test_no_bytes_do_any_harm(data: bytes) -> None:
    framed = struct.pack("<i", len(data) + 12) + b"\x03a\0" + data + b"\0" * 5
    with suppress(ValueError):
        for code, _ in Layouts(FIELDS).read(framed):
            assert code == "a"
