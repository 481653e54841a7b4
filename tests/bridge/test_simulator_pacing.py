import asyncio

import pytest

from bridge.simulator.pacing import Pacer


class FakeTime:
    """A clock that only sleeping moves, and how long each sleep was."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


@pytest.fixture
def fake() -> FakeTime:
    return FakeTime()


async def test_market_time_passes_speed_times_as_fast_as_the_clock(fake: FakeTime) -> None:
    pacer = Pacer(20, fake.clock, fake.sleep)
    pacer.start()
    await pacer.reach(3000)
    await pacer.reach(9000)
    assert fake.slept_s == pytest.approx([0.15, 0.3])
    assert pacer.lived_ms() == pytest.approx(9000)


async def test_at_speed_zero_nothing_waits_but_the_loop_runs(fake: FakeTime) -> None:
    pacer = Pacer(0, fake.clock, fake.sleep)
    pacer.start()
    await pacer.reach(3000)
    await pacer.reach(1e9)
    assert fake.slept_s == [0.0, 0.0]


async def test_after_a_stall_it_does_not_wait_until_it_has_caught_up(fake: FakeTime) -> None:
    pacer = Pacer(1, fake.clock, fake.sleep)
    pacer.start()
    await pacer.reach(3000)
    fake.now_s += 7
    for lived_ms in (6000, 9000, 12000):
        await pacer.reach(lived_ms)
    assert fake.slept_s == pytest.approx([3, 0, 0, 2])


async def test_time_stands_still_while_stopped(fake: FakeTime) -> None:
    pacer = Pacer(2, fake.clock, fake.sleep)
    assert pacer.lived_ms() == 0
    pacer.start()
    fake.now_s += 5
    pacer.stop()
    fake.now_s += 100
    assert pacer.lived_ms() == pytest.approx(10_000)
    pacer.start()
    fake.now_s += 1
    assert pacer.lived_ms() == pytest.approx(12_000)


@pytest.mark.parametrize("speed", [-1, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"^speed must be 0 \(as fast as it goes\) or more, not "):
        Pacer(speed)
