"""A batch is cut only where every row is known to be what was learnt; else it is left to be unpacked."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.feed import cutter
from bridge.feed.cutter import Cutter
from hub.rows import Rows
from hub.schema import CHANNELS, Row
from tests.hub.support.core import row_of, tick

T = 1_788_228_000_000
A, B = "600000.SH", "000001.SZ"


def raws(*rows: Any) -> list[msgspec.Raw]:
    decoded: list[msgspec.Raw] = msgspec.msgpack.decode(msgspec.msgpack.encode(rows), type=list[msgspec.Raw])
    return decoded


def cut(*rows: Any, channel: str = "tick", known: tuple[str, ...] = (A, B)) -> Rows | None:
    cutter = Cutter()
    cutter.learn([row_of(channel, code) for code in known])
    return cutter.cut(channel, raws(*rows))


@pytest.mark.parametrize("channel", [name for name in CHANNELS if name != "status"])
def test_rows_of_known_codes_come_out_as_they_are(channel: str) -> None:
    rows = [row_of(channel, code, T + number, 1.5, [1, 2]) for number, code in enumerate((A, B, A))]
    found = cut(*rows, channel=channel)
    assert found is not None
    assert (found.channel, list(found)) == (channel, rows)


@pytest.mark.parametrize(
    "odd",
    [
        tick("600001.SH", T),
        tick("60000.SH", T),
        tick("6000000.SH", T),
        tick("6" * 40 + ".SH", T),
        tick(A, 5),
        tick(A, -T),
        tick(A, None),  # type: ignore[arg-type]
        tick(A, str(T)),  # type: ignore[arg-type]
        tick(600000, T),  # type: ignore[arg-type]
        tick(b"600000.SH", T),  # type: ignore[arg-type]
        tick(A, T)[:-1],
        (*tick(A, T), None),
        (A, T),
        (A,),
        (),
        None,
        "x" * 300,
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_with_a_row_that_is_unlike_is_not_cut(odd: Any, place: int) -> None:
    rows: list[Any] = [tick(A, T), tick(B, T)]
    rows.insert(place, odd)
    assert cut(*rows) is None


def test_rows_that_are_too_short_and_too_few_together_are_not_cut() -> None:
    """Their beginnings, one after the other, must not be taken for those of others."""
    assert cut(*[(A,)] * 22, tick(A, T)) is None


def test_a_time_that_is_packed_longer_than_need_be_is_not_cut() -> None:
    """Numbers in a row are put in behind a time as this side packs it."""
    packed = msgspec.msgpack.encode([tick(A, T)])
    short = packed.replace(b"\xcf" + T.to_bytes(8), b"\xcf" + (5).to_bytes(8))
    known = Cutter()
    known.learn([tick(A)])
    assert known.cut("tick", msgspec.msgpack.decode(packed, type=list[msgspec.Raw])) is not None
    assert known.cut("tick", msgspec.msgpack.decode(short, type=list[msgspec.Raw])) is None


@pytest.mark.parametrize("channel", ["tick2", ""])
def test_rows_of_an_unknown_channel_and_no_rows_are_not_cut(channel: str) -> None:
    known = Cutter()
    known.learn([tick(A)])
    assert known.cut(channel, raws(tick(A, T))) is None
    assert known.cut("tick", []) is None


def test_what_is_no_code_is_not_learnt_and_codes_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutter, "MAX_CODES", 1)
    known = Cutter()
    known.learn([(), (5, 1), (None,), tick(A), tick(B)])
    assert known.cut("tick", raws(tick(A, T))) is not None
    assert known.cut("tick", raws(tick(B, T))) is None


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
TICKS = st.builds(
    lambda code, time_ms, values: (code, time_ms, *values),
    st.sampled_from([A, B, "600001.SH", "00700.HK"]),
    st.integers(0, 2**63 - 1),
    st.lists(VALUES | st.lists(VALUES, max_size=3), min_size=15, max_size=17),
)


@given(st.lists(TICKS, max_size=5))
def test_what_is_cut_is_what_would_be_unpacked(rows: list[Row]) -> None:
    found = cut(*rows)
    if found is not None:
        assert list(found) == rows
        assert {len(row) for row in rows} == {18}
