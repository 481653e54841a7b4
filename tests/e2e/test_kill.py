"""The hub is killed again and again, then its feeder: nobody misses a row of what the hub took, nobody is told less.

``KILL_SIZE=full`` makes it the whole market, 50 clients, 20 kills of the hub and 5 of the feeder (``make kill``).
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.kill.diary import Diary
from tests.e2e.kill.plan import FULL, SHORT, Size
from tests.e2e.kill.record import read_record
from tests.e2e.kill.scene import Outcome, Scene
from tests.e2e.kill.verdict import Due, Truth, check, summary, truth, whole_again_s

SIZE: Final[Size] = FULL if os.environ.get("KILL_SIZE") == "full" else SHORT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it kills with SIGKILL")


def report(outcome: Outcome, the_truth: Truth, whole_s: Sequence[float], rows: int) -> str:
    away_s = [listening_s - killed_s for killed_s, listening_s in outcome.kills]
    outages_s = [(outage.after_ms - outage.before_ms) / 1000 for outage in the_truth.outages]
    return (
        f"\n{len(outcome.kills)} kills of the hub: killed to listening again {summary(away_s)}; "
        f"clients whole again after a kill {summary(whole_s)}\n"
        f"{len(outages_s)} kills of the feeder: market time between the rows before and after {summary(outages_s)}, "
        f"{sum(len(outage.lost) for outage in the_truth.outages):,} rows lost\n"
        f"{len(the_truth.rows):,} rows taken by the hub, {rows:,} compared with the record\n"
    )


async def test_every_client_has_what_the_feeder_wrote_down_whatever_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = await Scene(SIZE, tmp_path).play()
    record = list(read_record(outcome.record))
    assert len(outcome.diaries) == SIZE.clients
    whole = Diary.read(outcome.diaries[0])
    assert whole.topics == ["tick:*"]
    the_truth = truth(record, whole)

    whole_s: list[float] = []
    rows = lost = 0
    for path in outcome.diaries:
        diary = Diary.read(path)
        due: list[Due] = check(diary, the_truth)
        rows += len(due)
        lost += diary.lost
        again = (whole_again_s(diary, due, *kill) for kill in outcome.kills)
        whole_s += [seconds for seconds in again if seconds is not None]
    with capsys.disabled():
        sys.stdout.write(report(outcome, the_truth, whole_s, rows))

    # Without these it might have passed because nothing happened.
    assert len(the_truth.outages) == SIZE.feeder_kills
    assert lost >= SIZE.hub_kills, "the kills hardly met a client"
    assert rows > SIZE.clients * SIZE.symbols
