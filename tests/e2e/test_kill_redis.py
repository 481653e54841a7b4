"""Feed, edges and Redis are killed, paused, flushed and cut: on every edge everybody has every row under its number.

``KILL_SIZE=full`` makes it the whole market, 300 clients and three rounds of all faults (``make kill-redis``);
``KILL_SEED`` draws other moments.
"""

import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.kill.diary import Diary
from tests.e2e.kill.record import read_record
from tests.e2e.kill.redis_plan import FULL, SHORT, Fault, RedisSize
from tests.e2e.kill.redis_scene import RedisScene
from tests.e2e.kill.verdict import check, truth

CHOSEN: Final[RedisSize] = FULL if os.environ.get("KILL_SIZE") == "full" else SHORT
SIZE: Final = replace(CHOSEN, seed=int(os.environ.get("KILL_SEED", CHOSEN.seed)))

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it kills with SIGKILL, and needs a Redis server")


async def test_every_client_of_every_edge_has_what_the_feeder_wrote_down_whatever_befalls_the_relay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = await RedisScene(SIZE, tmp_path).play()
    record = list(read_record(outcome.record))
    assert len(outcome.diaries) == SIZE.clients
    diaries = [Diary.read(path) for path in outcome.diaries]
    assert diaries[0].topics == ["tick:*"]
    the_truth = truth(record, diaries[0])
    rows = sum(len(check(diary, the_truth)) for diary in diaries)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{len(outcome.done)} faults, {sum(diary.lost for diary in diaries)} connections lost\n"
            f"{len(the_truth.rows):,} rows numbered by the feed, {rows:,} compared with the record\n"
        )

    # Without these it might have passed because nothing happened.
    assert Counter(outcome.done) == dict.fromkeys(Fault, SIZE.rounds)
    assert len(the_truth.rows) > 10 * SIZE.symbols
    assert "rows were fetched that did not come by themselves" in outcome.logs
    assert "is filled anew" in outcome.logs
