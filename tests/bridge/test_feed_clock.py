"""What time it is at a fed hub: the feeder's, as far as it tells one, else that of the rows or of the wall."""

from typing import Any

import pytest

from tests.bridge.support.feeding import TEN_MS, fed_hub, no_task_is_left, plain_feeder


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> Any:
    with no_task_is_left():
        yield


async def test_the_clock_is_the_feeder_s_and_runs_on_at_its_pace() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        seconds, wall = 100.0, 5
        fed.source._monotonic_s = lambda: seconds
        fed.source._wall_ms = lambda: wall
        await feeder.hello()
        assert fed.source.now_ms() == 5
        await feeder.say("clock", time=TEN_MS, pace=20)
        await feeder.batch(1)
        await feeder.acknowledged(1)
        seconds = 100.5
        assert fed.source.now_ms() == TEN_MS + 10_000
        await feeder.say("clock", time=TEN_MS + 7, pace=0)
        await feeder.batch(2)
        await feeder.acknowledged(2)
        seconds = 3600
        assert fed.source.now_ms() == TEN_MS + 7


async def test_a_simulated_market_that_tells_no_clock_is_where_its_newest_row_is() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        fed.source._wall_ms = lambda: 5
        await feeder.hello(simulated=True)
        assert fed.source.now_ms() == 5
        await feeder.batch(1)
        await feeder.acknowledged(1)
        assert fed.source.now_ms() == max(row[1] for row in fed.sink.batches[0].rows) != 5


async def test_a_simulated_market_that_has_not_come_back_yet_is_where_its_newest_kept_row_is() -> None:
    async with fed_hub(newest=(TEN_MS, 17)) as fed:
        fed.source._wall_ms = lambda: 5
        assert fed.source.now_ms() == 5
        fed.source.simulated = True
        assert fed.source.now_ms() == TEN_MS
