"""A real process, really killed: every row whose append had returned is there, and the numbers go on."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from hub.journal import JournalSettings, Restored
from tests.hub.test_journal_model import DAY, Model, check_restored, kill, open_for, read_back

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot kill a process as SIGKILL does")

SETTINGS = JournalSettings(fsync_s=0.01, part_bytes=1_000_000)
ROUNDS = 5

WRITER = """
import sys
from pathlib import Path
from tests.hub.test_journal_kill import write_for_ever
write_for_ever(Path(sys.argv[1]))
"""


def offer(model: Model, number: int) -> object:
    """The rows of an append: the same for the same number, from one to some thousands."""
    dice = random.Random(number)
    codes = [f"{dice.randrange(900)}.SZ" for _ in range(dice.choice((1, 10, 300, 3000)))]
    return model.stretch("tick", [(code, 100 * number + i % 90) for i, code in enumerate(codes)], number, size=100)


def grown(restored: Restored) -> Model:
    """The model as of the batch that was restored."""
    model = Model()
    for number in range(1, restored.batch + 1):
        offer(model, number)
        model.commit()
    return model


def write_for_ever(folder: Path) -> None:
    """Append on and on, and say which batch is written as soon as the append has returned."""
    journal, restored = open_for(folder, Model(), SETTINGS)
    model = grown(restored)
    journal.attach(model.topic, lambda: model.late_at, model.index)
    while True:
        number = model.batch + 1
        journal.append([offer(model, number)])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        model.commit()
        journal.settle()


def test_a_killed_process_loses_no_row_whose_append_had_returned(tmp_path: Path) -> None:
    dice = random.Random(7)
    epochs = set()
    newest = 0
    for _ in range(ROUNDS):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(dice.randrange(3, 25)):
                assert process.stdout.readline()
            process.kill()
            said = process.stdout.read().split()
        journal, restored = open_for(tmp_path, model := Model(), SETTINGS)
        kill(journal)
        model = grown(restored)
        epochs.add(restored.epoch)
        assert restored.batch > newest
        assert restored.batch >= max(map(int, said), default=0)
        check_restored(restored, model)
        newest = restored.batch
    journal, restored = open_for(tmp_path, model, SETTINGS)
    assert read_back(journal) == list(enumerate(model.rows, 1))
    assert journal.first_at == 1
    assert epochs == {restored.epoch}
    assert len(list(tmp_path.glob(f"*-{DAY}.rows"))) > 1
    kill(journal)
