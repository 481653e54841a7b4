"""The log as files of bounded size."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hub.logfile import LogFile

Log = Callable[..., logging.Logger]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    handlers: list[LogFile] = []

    def open_log(**how: int) -> logging.Logger:
        handlers.append(LogFile(tmp_path / "logs" / "hub.log", **how))
        logger = logging.Logger("of the test")
        logger.addHandler(handlers[-1])
        return logger

    yield open_log
    for handler in handlers:
        handler.close()


def lines(folder: Path) -> list[str]:
    """All lines of all files, the newest file last."""
    paths = sorted(folder.glob("hub.2*.log"))
    return [line for path in [*paths, folder / "hub.log"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_folder_is_made_and_a_restart_goes_on_in_the_same_file(log: Log, tmp_path: Path) -> None:
    log().warning("沪深 one")
    log().warning("two")
    assert lines(tmp_path / "logs") == ["沪深 one", "two"]
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["hub.log"]


def test_a_full_file_is_set_aside_and_no_line_is_lost(log: Log, tmp_path: Path) -> None:
    logger = log(file_bytes=100)
    for number in range(30):
        logger.warning("line %03d", number)
    assert lines(tmp_path / "logs") == [f"line {number:03d}" for number in range(30)]
    paths = list((tmp_path / "logs").iterdir())
    assert len(paths) >= 3
    assert all(path.stat().st_size < 200 for path in paths)


def test_the_oldest_files_are_deleted(log: Log, tmp_path: Path) -> None:
    logger = log(file_bytes=1, kept=2)
    for number in range(9):
        logger.warning("%d", number)
    assert lines(tmp_path / "logs") == ["6", "7", "8"]


def test_where_the_full_file_can_not_be_renamed_it_grows_on(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is on Windows while somebody reads it."""
    logger = log(file_bytes=1)
    if sys.platform == "win32":
        logger.warning("0")
        with (tmp_path / "logs" / "hub.log").open():
            logger.warning("1")
            assert lines(tmp_path / "logs") == ["0", "1"]
    else:

        def refuse(*_: object) -> None:
            raise PermissionError(13, "somebody reads it")

        logger.warning("0")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", refuse)
            logger.warning("1")
        assert lines(tmp_path / "logs") == ["0", "1"]
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["hub.log"]
    logger.warning("2")
    assert lines(tmp_path / "logs") == ["0", "1", "2"]
    assert len(list((tmp_path / "logs").iterdir())) == 2
