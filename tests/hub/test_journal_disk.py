"""A disk that is full, fails or is slow: told once and loudly, never served wrongly, and the next start knows of it."""

import re
import subprocess
import sys
import threading
from datetime import date
from io import FileIO
from pathlib import Path

import pytest

from hub.journal import JournalError, JournalSettings, disk
from hub.journal.keeper import Keeper
from tests.hub.test_journal_model import Model, check, kill, open_for, small_files

SETTINGS = JournalSettings(fsync_s=1000.0)
NO_SPACE = OSError(28, "No space left on device")

on_a_limited_disk = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")

FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from tests.hub.test_journal_disk import fill_the_disk
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
fill_the_disk(Path(sys.argv[1]), int(sys.argv[2]))
"""


def fill_the_disk(folder: Path, block_rows: int) -> None:
    """Append until the operating system refuses; say in which file, why, and how many rows are there."""
    model = Model()
    with small_files(block_rows=block_rows, block_records=10**6):
        journal, _ = open_for(folder, model, SETTINGS)
        codes = [f"{code}.SZ" for code in range(1000)]
        try:
            while True:
                journal.append([model.stretch("tick", [(code, model.at) for code in codes], size=0)])
                model.commit()
                codes = codes[:10]
                journal.settle()
        except JournalError as error:
            path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
            sys.stdout.write(f"{path.suffix}\n{error}\n")
        model.forget_offered()
        journal.settle()
        for write in (lambda: journal.append([model.gap()]), lambda: journal.roll(date(2026, 3, 3))):
            with pytest.raises(JournalError, match="cannot be written"):
                write()
        model.forget_offered()
        check(journal, model)
        sys.stdout.write(f"{model.at}\n")
        journal.close()


@on_a_limited_disk
@pytest.mark.parametrize(("block_rows", "full"), [(10**6, ".rows"), (1, ".marks")])
def test_a_full_disk_is_said_once_and_what_was_written_can_still_be_read(
    tmp_path: Path, block_rows: int, full: str
) -> None:
    command = [sys.executable, "-c", FILL_THE_DISK, tmp_path, str(block_rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    where, error, rows = done.stdout.splitlines()
    assert where == full
    assert error == (
        f"the journal {tmp_path} cannot be written (File too large): from now on rows go out that it does not have, "
        "and the next start will begin a new epoch; see to the disk, then restart the hub"
    )
    assert int(rows) > 1000
    assert not (tmp_path / "proof").exists()
    journal, restored = open_for(tmp_path, Model(), SETTINGS)
    assert restored.new_epoch.startswith("nothing proves that the journal is complete: rows may have gone out")
    kill(journal)


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
    path = next(tmp_path.glob("*.rows"))
    size = path.stat().st_size
    write_all = disk.write_all

    def write_half(file: FileIO, data: bytes | memoryview) -> None:
        write_all(file, data[:50])
        raise NO_SPACE

    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.disk.write_all", write_half)
        with pytest.raises(JournalError, match=r"cannot be written \(No space left on device\)"):
            journal.append([model.stretch("tick", [("2.SZ", 1)])])
    model.forget_offered()
    assert path.stat().st_size == size
    assert journal.at_of(model.topic("tick", "2.SZ"), 1) is None
    check(journal, model)
    journal.close()


def test_where_not_even_the_proof_can_be_withdrawn_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.disk.write_all", refuse)
        patch.setattr("hub.journal.disk.write_at", refuse)
        patch.setattr("pathlib.Path.unlink", refuse)
        told = re.escape(f"(delete {tmp_path} before that: not even this could be written")
        with pytest.raises(JournalError, match=told):
            journal.append([model.stretch("tick", [("2.SZ", 1)])])
    journal.close()


def test_a_full_disk_at_the_start_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NO_SPACE

    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.disk.write_all", refuse)
        with pytest.raises(JournalError, match=r"cannot be opened: No space left on device"):
            open_for(tmp_path, Model(), SETTINGS)
    journal, restored = open_for(tmp_path, Model(), SETTINGS)
    assert restored.new_epoch == "there is no journal yet"
    kill(journal)


def test_what_was_written_is_made_durable_again_and_again_by_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, threads = threading.Semaphore(0), set()

    def make_durable(file: FileIO) -> None:
        threads.add(threading.get_ident())
        done.release()

    model = Model()
    journal, _ = open_for(tmp_path, model, JournalSettings(fsync_s=0.001))
    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.disk.make_durable", make_durable)
        for _ in range(3):
            model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
            assert done.acquire(timeout=60)
        assert threads
        assert threading.get_ident() not in threads
    journal.close()


def test_with_fsync_0_every_append_is_durable_before_it_returns_and_nothing_else_makes_it_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []
    model = Model()
    journal, _ = open_for(tmp_path, model, JournalSettings(fsync_s=0))
    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.disk.make_durable", lambda file: lengths.append(Path(path).stat().st_size))
        path = next(tmp_path.glob("*.rows"))
        for number in range(1, 4):
            journal.append([model.stretch("tick", [("1.SZ", 1)])])
            model.commit()
            assert len(lengths) == number
            assert lengths[-1] == path.stat().st_size
    journal.close()


def test_a_disk_that_cannot_make_durable_is_a_failure_of_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(file: FileIO) -> None:
        tried.set()
        raise OSError(5, "Input/output error")

    model = Model()
    with monkeypatch.context() as patch:
        journal, _ = open_for(tmp_path, model, JournalSettings(fsync_s=0.001))
        patch.setattr("hub.journal.disk.make_durable", fail)
        model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
        assert tried.wait(60)
        journal._keeper.stop()
        with pytest.raises(JournalError, match=r"cannot be written \(Input/output error\)"):
            journal.append([model.stretch("tick", [("1.SZ", 2)])])
    model.forget_offered()
    check(journal, model)
    journal.close()


def test_what_could_not_be_made_durable_is_not_proven_by_stopping_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def fail(file: FileIO) -> None:
        tried.set()
        raise OSError(5, "Input/output error")

    model = Model()
    with monkeypatch.context() as patch:
        journal, _ = open_for(tmp_path, model, JournalSettings(fsync_s=0.001))
        patch.setattr("hub.journal.disk.make_durable", fail)
        model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
        assert tried.wait(60)
        journal._keeper.stop()
    journal.close()
    journal, restored = open_for(tmp_path, Model(), SETTINGS, boot="another")
    assert restored.new_epoch.startswith("the machine was restarted while the journal was open")
    kill(journal)


def test_an_old_file_is_made_durable_and_closed_by_the_thread(tmp_path: Path) -> None:
    keeper = Keeper(1000.0)
    keeper.start()
    file = disk.open_to_append(tmp_path / "old", 0)
    keeper.retire(file)
    keeper.delete(tmp_path / "gone already")
    keeper.stop()
    assert file.closed
    assert keeper.failure is None


def test_a_write_that_the_system_takes_in_bits_is_gone_on_with(tmp_path: Path) -> None:
    class SlowFile(FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return super().write(memoryview(data)[:3])

    with SlowFile(tmp_path / "file", "w") as file:
        disk.write_all(file, b"abcdefg")
    assert (tmp_path / "file").read_bytes() == b"abcdefg"


def test_the_memory_of_a_huge_append_is_not_kept(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.stretch("tick", [("1.SZ", 1)] * 5, size=2_000_000))
    model.append(journal, model.stretch("tick", [("1.SZ", 2)] * 2, size=10))
    assert len(journal._encoder._buffer.getbuffer()) < 1000
    check(journal, model)
    journal.close()
