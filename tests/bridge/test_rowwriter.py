"""Creating the files of recordings: the formats, what is safe when, and what is refused before anything is written."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from bridge.rowfile import CHUNK_ROWS, RecordingError, open_rows
from bridge.rowlayout import parse, to_cells
from bridge.rowwriter import ROW_GROUP_ROWS, create_rows
from hub.schema import Row
from tests.bridge.support.recordings import HEADER, cells, line

FORMATS = ["day.csv", "day.csv.gz", "day.parquet"]
ROW = to_cells(parse(cells()))


def read(path: Path) -> list[Row]:
    return [parse(found) for chunk in open_rows(path).chunks() for _, found in chunk]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_can_be_read(tmp_path: Path, name: str) -> None:
    writer = create_rows(tmp_path / name)
    writer.write(ROW)
    writer.flush()
    writer.write(ROW)
    writer.close()
    assert read(tmp_path / name) == [parse(cells())] * 2
    assert writer.safe_rows == 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_without_rows_is_a_whole_file(tmp_path: Path, name: str) -> None:
    create_rows(tmp_path / name).close()
    assert read(tmp_path / name) == []


def test_csv_is_the_published_layout(tmp_path: Path) -> None:
    writer = create_rows(tmp_path / "day.csv")
    writer.write(ROW)
    writer.close()
    assert (tmp_path / "day.csv").read_text().splitlines() == [HEADER, line(open="8.0", bidPrice1="8.0")]


def test_a_null_is_an_empty_cell(tmp_path: Path) -> None:
    writer = create_rows(tmp_path / "day.csv")
    writer.write(to_cells(parse(cells(high="", volume=""))))
    writer.close()
    assert (tmp_path / "day.csv").read_text().splitlines()[1].split(",")[4:9] == ["", "7.99", "8.02", "1234567.89", ""]


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
def test_what_was_flushed_can_be_read_before_the_file_is_closed(tmp_path: Path, name: str) -> None:
    writer = create_rows(tmp_path / name)
    for _ in range(CHUNK_ROWS):
        writer.write(ROW)
    assert writer.safe_rows == 0
    writer.flush()
    assert writer.safe_rows == CHUNK_ROWS
    with closing(open_rows(tmp_path / name).chunks()) as chunks:
        assert len(next(chunks)) == CHUNK_ROWS
    writer.close()


def test_parquet_is_safe_only_when_it_is_closed(tmp_path: Path) -> None:
    writer = create_rows(tmp_path / "day.parquet")
    for _ in range(ROW_GROUP_ROWS):
        writer.write(ROW)
    writer.flush()
    assert writer.safe_rows == 0
    writer.close()
    assert writer.safe_rows == ROW_GROUP_ROWS


@pytest.mark.parametrize("name", FORMATS)
def test_an_existing_file_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(RecordingError, match="exists already; choose another name"):
        create_rows(tmp_path / name)
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("name", ["day", "day.txt", "day.csv.zip"])
def test_a_name_that_says_no_format_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match=r"must end in \.csv, \.csv\.gz or \.parquet"):
        create_rows(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_directory_that_does_not_exist_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"can't record to .*: No such file or directory"):
        create_rows(tmp_path / "nowhere" / "day.csv")


def test_without_pyarrow_parquet_is_refused_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordingError, match=r"needs pyarrow.*argus-hub\[parquet\]"):
        create_rows(tmp_path / "day.parquet")
    assert not (tmp_path / "day.parquet").exists()
