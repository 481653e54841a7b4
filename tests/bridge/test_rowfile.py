"""Reading the files of recordings: what is tolerated, what is refused in one line, and what damage leaves readable."""

import gzip
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.rowfile import CHUNK_ROWS, MAX_LINE_CHARS, Chunk, RecordingError, open_rows
from bridge.rowlayout import COLUMNS, FLOAT_COLUMNS
from tests.bridge.support.recordings import HEADER, cells, line, write_csv


def read(path: Path) -> Chunk:
    return [numbered for chunk in open_rows(path).chunks() for numbered in chunk]


def read_until_error(path: Path) -> tuple[Chunk, str]:
    rows: Chunk = []
    with pytest.raises(RecordingError) as caught:
        rows.extend(numbered for chunk in open_rows(path).chunks() for numbered in chunk)
    return rows, str(caught.value)


def write_parquet(path: Path, rows: Sequence[Sequence[Any]], **types: Any) -> Path:
    """Write rows of text cells with the types of a recording, but for those given."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    arrays = {}
    for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True):
        kind: Callable[[str], Any] = str if name == "code" else float if name in FLOAT_COLUMNS else int
        arrays[name] = pyarrow.array([kind(cell) for cell in column]).cast(types.get(name) or _arrow_type(name))
    parquet.write_table(pyarrow.table(arrays), path)
    return path


def _arrow_type(name: str) -> Any:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return pyarrow.string() if name == "code" else pyarrow.float64() if name in FLOAT_COLUMNS else pyarrow.int64()


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
def test_lines_come_as_cells_with_their_line_numbers(tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path / name, line(volume="1"), line(volume="2"))
    assert read(path) == [(2, cells(volume="1")), (3, cells(volume="2"))]


def test_gzip_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv.gz", line()).rename(tmp_path / "day.csv")
    assert read(path) == [(2, cells())]


def test_blank_lines_are_passed_over_and_counted_as_lines(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", "", line(), "   ", "", line())
    assert [place for place, _ in read(path)] == [3, 6]


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes("\r\n".join(["\ufeff" + HEADER, line(), "", line(), ""]).encode("utf-8"))
    assert read(path) == [(2, cells()), (4, cells())]


def test_a_last_line_without_its_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f"{HEADER}\n{line()}")
    assert read(path) == [(2, cells())]


@pytest.mark.parametrize("number", ["1_541", "１５４１", "1541\N{NO-BREAK SPACE}", "\N{ARABIC-INDIC DIGIT FIVE}"])
def test_what_only_python_takes_for_a_number_is_spoilt(tmp_path: Path, number: str) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f"{HEADER}\n{line(volume=number)}\n", encoding="utf-8")
    ((_, found),) = read(path)
    volume = found[COLUMNS.index("volume")]
    with pytest.raises(ValueError, match="invalid literal"):
        int(volume)


def test_bytes_that_are_not_text_spoil_only_their_own_row(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_bytes(b"\n".join([HEADER.encode(), line().encode(), b"\xff\xfe\x00,1", line().encode()]))
    rows = read(path)
    assert [place for place, _ in rows] == [2, 3, 4]
    assert rows[0][1] == rows[2][1] == cells()


@pytest.mark.parametrize("length", [MAX_LINE_CHARS - 1, MAX_LINE_CHARS, 3 * MAX_LINE_CHARS])
def test_an_endless_line_is_one_row_of_bounded_length(tmp_path: Path, length: int) -> None:
    path = write_csv(tmp_path / "day.csv", line(), "x" * length, line())
    rows = read(path)
    assert [place for place, _ in rows] == [2, 3, 4]
    assert len(rows[1][1][0]) <= MAX_LINE_CHARS
    assert rows[2][1] == cells()


def test_rows_come_in_chunks_of_bounded_size(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", *[line()] * (2 * CHUNK_ROWS + 1))
    assert [len(chunk) for chunk in open_rows(path).chunks()] == [CHUNK_ROWS, CHUNK_ROWS, 1]


def test_a_file_can_be_read_again_from_its_start(tmp_path: Path) -> None:
    rows = open_rows(write_csv(tmp_path / "day.csv", line()))
    assert list(rows.chunks()) == list(rows.chunks()) == [[(2, cells())]]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"^there is no recording .*nowhere\.csv$"):
        open_rows(tmp_path / "nowhere.csv")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is a directory"):
        open_rows(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows calls such a file missing")
def test_a_path_that_the_system_refuses_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"^can't read .*: File name too long$"):
        open_rows(tmp_path / ("x" * 5_000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RecordingError, match="is not a regular file"):
        open_rows(tmp_path / "pipe.csv")


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz", "day.parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(RecordingError, match="is empty"):
        open_rows(tmp_path / name)


@pytest.mark.parametrize(("name", "kind"), [("day.csv.gz", "gzip"), ("day.parquet", "Parquet")])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_text(f"{HEADER}\n{line()}\n")
    with pytest.raises(RecordingError, match=f"is not {kind}"):
        open_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (HEADER.replace("pvolume,", ""), "missing: pvolume"),
        (HEADER + ",settlementPrice", "unexpected: settlementPrice"),
        (HEADER.replace("lastPrice", "price"), "missing: lastPrice; unexpected: price"),
        (HEADER + ",code", "twice: code"),
        (HEADER.replace("code,time", "time,code"), "in another order: code belongs where time is"),
        (HEADER.replace(",", ";"), "missing: code, time, lastPrice, open, high, low and 26 more"),
        (line(), "missing: code"),
        ("", "missing: code"),
        ("\x00" * 500, "missing: code"),
    ],
)
def test_another_header_is_refused_with_what_differs(tmp_path: Path, header: str, complaint: str) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f"{header}\n{line()}\n")
    with pytest.raises(RecordingError) as caught:
        open_rows(path)
    message = str(caught.value)
    assert complaint in message
    assert message.isprintable()
    assert len(message) < len(str(path)) + 600


def test_cut_gzip_gives_the_rows_before_the_cut_then_an_error(tmp_path: Path) -> None:
    lines = [line(volume=str(number * number)) for number in range(5_000)]
    path = write_csv(tmp_path / "day.csv.gz", *lines)
    path.write_bytes(path.read_bytes()[:-2_000])
    rows, message = read_until_error(path)
    assert "is cut off" in message
    assert len(rows) > 1_000
    assert [",".join(found) for _, found in rows] == lines[: len(rows)]


@pytest.mark.parametrize("damaged_byte", [0.5, -5], ids=["within the data", "in the checksum"])
def test_damaged_gzip_gives_an_error_in_one_line(tmp_path: Path, damaged_byte: float) -> None:
    path = write_csv(tmp_path / "day.csv.gz", *[line(volume=str(number * number)) for number in range(5_000)])
    data = bytearray(path.read_bytes())
    data[int(damaged_byte * len(data)) if damaged_byte > 0 else int(damaged_byte)] ^= 0xFF
    path.write_bytes(data)
    rows, message = read_until_error(path)
    assert rows[0][1] == cells(volume="0")
    assert "is damaged" in message
    assert "\n" not in message


def test_gzip_cut_within_its_header_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv.gz", line())
    path.write_bytes(path.read_bytes()[:8])
    with pytest.raises(RecordingError, match="is cut off"):
        open_rows(path)


def test_closing_the_reader_closes_the_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", *[line()] * (2 * CHUNK_ROWS))
    chunks = open_rows(path).chunks()
    next(chunks)
    chunks.close()
    with pytest.raises(StopIteration):
        next(chunks)


def test_parquet_gives_typed_cells_with_their_row_numbers(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "day.parquet", [cells(volume=str(number)) for number in range(CHUNK_ROWS + 2)])
    rows = read(path)
    assert [place for place, _ in rows] == list(range(1, CHUNK_ROWS + 3))
    assert [dict(zip(COLUMNS, found, strict=True))["volume"] for _, found in rows] == list(range(CHUNK_ROWS + 2))
    assert [str(cell) for cell in rows[0][1]] == [
        str(float(cell)) if name in FLOAT_COLUMNS else cell
        for name, cell in zip(COLUMNS, cells(volume="0"), strict=True)
    ]


def test_parquet_may_have_its_columns_in_any_order(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "day.parquet", [cells()])
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    in_order = read(path)
    parquet.write_table(table.select(table.column_names[::-1]), path)
    assert read(path) == in_order


def test_parquet_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "day.parquet", [cells()])
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(parquet.read_table(path).drop_columns(["bidVol5"]), path)
    with pytest.raises(RecordingError, match="missing: bidVol5"):
        open_rows(path)


@pytest.mark.parametrize(("column", "arrow_type"), [("time", "float64"), ("volume", "string"), ("open", "string")])
def test_parquet_with_another_type_of_column_is_refused(tmp_path: Path, column: str, arrow_type: str) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    path = write_parquet(tmp_path / "day.parquet", [cells()], **{column: getattr(pyarrow, arrow_type)()})
    with pytest.raises(RecordingError, match=f"column {column} is of type"):
        open_rows(path)


def test_damaged_parquet_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "day.parquet", [cells()] * 1_000)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordingError) as caught:
        open_rows(path)
    assert "is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "day.parquet").write_bytes(b"PAR1 and more")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordingError, match=r"needs pyarrow.*argus-hub\[parquet\]"):
        open_rows(tmp_path / "day.parquet")


def test_csv_is_read_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert read(write_csv(tmp_path / "day.csv.gz", line())) == [(2, cells())]


def test_members_of_gzip_that_follow_each_other_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "day.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{line()}\n".encode()) + gzip.compress(f"{line()}\n".encode()))
    assert read(path) == [(2, cells()), (3, cells())]
