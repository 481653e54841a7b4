"""The journal's promise, with anything in any order: append, begin a day, restart, be killed after any byte."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import FileIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.journal import Journal, JournalSettings, Restored, disk
from tests.hub.test_journal_model import DAY, Model, check, check_restored, kill, open_for, small_files


class KilledError(BaseException):
    """The process ends here."""


class Death:
    """Lets so many bytes be written, of whatever file, and ends the process in the middle of the next."""

    def __init__(self) -> None:
        self.after: int | None = None
        self._write_all = disk.write_all
        self._write_at = disk.write_at

    def write_all(self, file: FileIO, data: bytes | memoryview) -> None:
        self._write(data, lambda part: self._write_all(file, part))

    def write_at(self, file: FileIO, offset: int, data: bytes) -> None:
        self._write(data, lambda part: self._write_at(file, offset, part))

    def _write(self, data: bytes | memoryview, write: Callable[[Any], None]) -> None:
        if self.after is None:
            write(data)
            return
        write(data[: self.after])
        self.after -= len(data)
        if self.after < 0:
            self.after = None
            raise KilledError


APPEND = st.tuples(
    st.just("append"),
    st.lists(  # batches: channel, rows (instrument, time), size of a row; an empty one is a gap notice
        st.tuples(
            st.sampled_from(["tick", "1m"]),
            st.lists(st.tuples(st.integers(0, 6), st.integers(0, 50)), max_size=9),
            st.sampled_from([0, 7, 300]),
        ),
        min_size=1,
        max_size=3,
    ),
)
ACTIONS = st.one_of(
    APPEND,
    APPEND,
    APPEND,
    st.tuples(st.just("roll")),
    st.tuples(st.just("run")),
    st.tuples(st.just("close")),
    st.tuples(st.just("kill")),
    st.tuples(st.just("die"), st.integers(0, 2000)),
)


class Machine:
    """Carries actions out on a journal and on the model, and starts the journal again when it was killed."""

    def __init__(self, folder: Path, death: Death) -> None:
        self._folder = folder
        self._death = death
        self._settings = JournalSettings(fsync_s=1000.0, keep_days=1000, keep_bytes=1 << 40, part_bytes=4000)
        self._day = DAY
        self._batch = 0
        self.model = Model()
        self.journal, restored = self._open()
        assert restored.new_epoch == "there is no journal yet"
        self._epoch = restored.epoch

    def _open(self) -> tuple[Journal, Restored]:
        return open_for(self._folder, self.model, self._settings, day=self._day)

    def do(self, action: tuple) -> None:
        name, *values = action
        try:
            getattr(self, name)(*values)
        except KilledError:
            kill(self.journal)
            self.start_again()

    def start_again(self) -> None:
        while True:
            with suppress(KilledError):  # also a start can be killed
                self.journal, restored = self._open()
                break
        gaps = self.journal.gaps_between(0, restored.at + 1)
        if restored.at > self.model.at or restored.run != self.model.run or len(gaps) > len(self.model.gaps):
            self.model.commit()  # the append that was under way is there; then all of it has to be
        self.model.forget_offered()
        assert restored.epoch == self._epoch
        check_restored(restored, self.model)
        check(self.journal, self.model)

    def append(self, batches: list) -> None:
        entries = []
        for channel, rows, size in batches:
            self._batch += 1
            named = [(f"{code}.SZ", time_ms) for code, time_ms in rows]
            entries.append(self.model.stretch(channel, named, self._batch, size) if rows else self.model.gap())
        self.model.append(self.journal, *entries)

    def run(self) -> None:
        self._batch = 0
        self.model.append(self.journal, self.model.begin_run(f"run {self.model.at}"))

    def roll(self) -> None:
        day = self._day + timedelta(days=1)
        self.journal.roll(day)
        assert self.journal.day == day.isoformat()
        self._day = day

    def close(self) -> None:
        self.journal.close()
        self.start_again()

    def kill(self) -> None:
        raise KilledError

    def die(self, after: int) -> None:
        self._death.after = after

    def end(self) -> None:
        self._death.after = None
        check(self.journal, self.model)
        kill(self.journal)
        self.start_again()
        self.journal.close()


@contextmanager
def dying() -> Iterator[Death]:
    death = Death()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.journal.disk.write_all", death.write_all)
        patch.setattr("hub.journal.disk.write_at", death.write_at)
        yield death


@given(st.lists(ACTIONS, max_size=25))
@settings(max_examples=150, deadline=None)
def test_what_is_read_back_is_what_was_appended_whatever_happens_when(actions: list[tuple]) -> None:
    with TemporaryDirectory() as folder, small_files(), dying() as death:
        machine = Machine(Path(folder), death)
        for action in actions:
            machine.do(action)
        machine.end()


def test_a_process_killed_anywhere_in_a_new_file_and_in_its_first_rows_goes_on() -> None:
    with dying() as death, small_files():
        for after in count(0, 3):  # each third byte: nothing in the files is shorter than that, and it saves time
            with TemporaryDirectory() as folder:
                machine = Machine(Path(folder), death)
                machine.append([("tick", [(1, 10), (2, 20)], 0), ("tick", [], 0)])
                machine.die(after)
                machine.do(("roll",))
                machine.do(("append", [("tick", [(1, 30)], 0)]))
                survived = death.after is not None
                machine.end()
            if survived:
                break
    assert after > 500
