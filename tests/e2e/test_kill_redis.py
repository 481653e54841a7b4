"""Feeds, edges and Redis are killed, paused, flushed and cut: on every edge everybody has every row under its number.

One feed leads and one stands by. How long rows were away when it took over is told, and not asserted: it is the
machine's as well.

``KILL_SIZE=full`` makes it the whole market, 300 clients and three rounds of all faults (``make kill-redis``);
``KILL_SEED`` draws other moments.
"""

import os
import sys
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.kill.diary import Diary
from tests.e2e.kill.record import read_record
from tests.e2e.kill.redis_plan import FULL, SHORT, Fault, RedisSize
from tests.e2e.kill.redis_scene import Outcome, RedisScene
from tests.e2e.kill.verdict import Truth, check, covered, truth

CHOSEN: Final[RedisSize] = FULL if os.environ.get("KILL_SIZE") == "full" else SHORT
SIZE: Final = replace(CHOSEN, seed=int(os.environ.get("KILL_SEED", CHOSEN.seed)))
MOMENTS_S: Final = 6.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it kills with SIGKILL, and needs a Redis server")


async def test_every_client_of_every_edge_has_what_the_feeder_wrote_down_whatever_befalls_the_relay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = await RedisScene(SIZE, tmp_path).play()
    record = list(read_record(outcome.record))
    assert len(outcome.diaries) == SIZE.clients + SIZE.few
    diaries = [Diary.read(path) for path in outcome.diaries]
    assert diaries[0].topics == ["tick:*"]
    the_truth = truth(record, diaries[0])
    rows = sum(len(check(diary, the_truth)) for diary in diaries)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(outcome.done)} faults, {sum(diary.lost for diary in diaries)} connections lost\n"
            f"{len(the_truth.rows):,} rows numbered by the feeds, {rows:,} compared with the record\n"
            f"rows came later than the feeder had them, at the worst: {_delays(outcome, diaries, the_truth)}\n"
        )

    # Without these it might have passed because nothing happened.
    assert Counter(fault for fault, _ in outcome.done) == dict.fromkeys(Fault, SIZE.rounds)
    assert len(the_truth.rows) > 10 * SIZE.symbols
    assert "rows were fetched that did not come by themselves" in outcome.logs
    assert "is filled anew" in outcome.logs
    assert "topics served: 3; shards taken: " in outcome.logs
    # Not for each: one that is killed may be back before the other one has waited long enough.
    assert outcome.logs.count("this feed goes on after another one") >= SIZE.rounds
    assert "CRITICAL" not in outcome.logs  # a new epoch would be


def _delays(outcome: Outcome, diaries: list[Diary], the_truth: Truth) -> str:
    """By fault, the worst time from when the feeder wrote a row down, within moments of it, until a client had it.

    Not of rows that were on their way when the next fault came.
    """
    worst: dict[Fault, float] = {}
    nexts_s = [began_s for _, began_s in outcome.done[1:]] + [float("inf")]
    for diary in diaries:
        due = covered(diary, the_truth)
        for (fault, began_s), next_s in zip(outcome.done, nexts_s, strict=True):
            if not diary.at_s or diary.at_s[0] > began_s:
                continue  # it came later
            first = bisect_left(due, began_s, key=lambda row: row.at_s)
            last = bisect_left(due, min(began_s + MOMENTS_S, next_s - 1), key=lambda row: row.at_s)
            late_s = max((diary.at_s[place] - due[place].at_s for place in range(first, last)), default=0.0)
            worst[fault] = max(worst.get(fault, 0.0), late_s)
    return ", ".join(f"{fault.name.lower()} {worst_s:.1f} s" for fault, worst_s in worst.items())
