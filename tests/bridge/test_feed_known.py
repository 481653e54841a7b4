"""The source is remembered beside the journal: whole or not at all, and what can't be read or written is told."""

import logging
from pathlib import Path

import pytest

from bridge.feed.known import NAME, KnownSource, read_known, remember

KNOWN = KnownSource("0123456789abcdef", "simulator", simulated=True)


def test_what_is_remembered_is_read_again(tmp_path: Path) -> None:
    remember(tmp_path, KNOWN)
    assert read_known(tmp_path) == KNOWN


def test_the_folder_is_made(tmp_path: Path) -> None:
    remember(tmp_path / "data" / "here", KNOWN)
    assert read_known(tmp_path / "data" / "here") == KNOWN


def test_the_newest_is_remembered_and_nothing_else_stays(tmp_path: Path) -> None:
    remember(tmp_path, KNOWN)
    other = KnownSource("fedcba9876543210", "xtquant", simulated=False)
    remember(tmp_path, other)
    assert read_known(tmp_path) == other
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_where_nothing_was_remembered_nothing_is_known_and_nobody_alarmed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_known(tmp_path / "nowhere") is None
    assert caplog.records == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"epoch":"0123456789abcdef","source":"sim',
        b'{"source":"simulator","simulated":true}',
        b'{"epoch":"0123456789abcdef","source":"simulator","simulated":"yes"}',
        b"[]",
        b"\xff\x00",
    ],
    ids=["empty", "torn", "without an epoch", "of another type", "no map", "no text"],
)
def test_what_is_damaged_is_not_believed_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert read_known(tmp_path) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{tmp_path / NAME} can't be read" in record.getMessage()


def test_a_hub_that_is_killed_while_it_remembers_has_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    remember(tmp_path, KNOWN)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        with pytest.raises(KilledError):
            remember(tmp_path, KnownSource("fedcba9876543210", "xtquant", simulated=False))
    assert read_known(tmp_path) == KNOWN


def test_a_folder_that_cannot_be_written_is_told_and_nothing_else_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    folder.write_text("a file where the folder should be")
    remember(folder, KNOWN)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{folder / NAME} can't be written" in record.getMessage()
