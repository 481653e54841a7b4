"""Deadlines: each gets its whole time, what is due together comes a few at a time, and nothing ends them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from hub.deadlines import DUE_PER_TURN, LATE_SHARE, Deadlines
from tests.hub.support.served_hub import BOTH_LOOPS, NEVER_S, until

SOON_S = 0.02


class Noted:
    """Deadlines that note what was due, in how many turns."""

    def __init__(self, after_s: float = SOON_S) -> None:
        self.turns: list[list[int]] = []
        self.also: Callable[[Sequence[int]], None] = lambda _: None
        self.deadlines: Deadlines[int] = Deadlines(after_s, self._note)

    @property
    def due(self) -> list[int]:
        return [thing for turn in self.turns for thing in turn]

    def _note(self, due: Sequence[int]) -> None:
        self.turns.append(list(due))
        self.also(due)


@asynccontextmanager
async def noted(*things: int, after_s: float = SOON_S) -> AsyncIterator[Noted]:
    found = Noted(after_s)
    for thing in things:
        found.deadlines.add(thing)
    try:
        yield found
    finally:
        found.deadlines.stop()


@BOTH_LOOPS
async def test_what_was_added_is_due_once_and_no_longer_held() -> None:
    async with noted(3, 1, 2) as found:
        assert (len(found.deadlines), 1 in found.deadlines, found.deadlines.next) == (3, True, 3)
        await until(lambda: len(found.due) == 3)
        assert found.due == [3, 1, 2]
        assert len(found.deadlines) == 0
        found.deadlines.add(4)  # after a time in which there was nothing
        await until(lambda: found.due == [3, 1, 2, 4])


@BOTH_LOOPS
async def test_nothing_is_due_before_its_time() -> None:
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with noted(1, after_s=0.1) as found:
        await until(lambda: found.due)
        assert loop.time() - begun_s >= 0.1 - 0.002  # uvloop's clock counts milliseconds


async def test_what_was_removed_is_not_due() -> None:
    async with noted(1, 2, 3) as found:
        found.deadlines.remove(2)
        found.deadlines.remove(4)
        await until(lambda: 3 in found.due)
        assert found.due == [1, 3]


async def test_who_is_added_again_has_the_whole_time_again() -> None:
    async with noted(1, 2) as found:
        found.deadlines.add(1)
        assert found.deadlines.next == 2
        await until(lambda: len(found.due) == 2)
        assert found.due == [2, 1]


async def test_what_is_due_within_a_small_share_of_its_time_is_served_in_one_turn() -> None:
    async with noted(1, after_s=0.5) as found:
        await asyncio.sleep(0)
        found.deadlines.add(2)
        await until(lambda: found.due)
        assert found.turns == [[1, 2]]


@BOTH_LOOPS
async def test_thousands_that_are_due_together_leave_turns_to_others() -> None:
    turns = 0
    at: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with noted(*range(DUE_PER_TURN * 4)) as found:
        found.also = lambda _: at.append(turns)
        working = asyncio.create_task(others())
        await until(lambda: len(found.due) == DUE_PER_TURN * 4)
        working.cancel()
    assert found.due == list(range(DUE_PER_TURN * 4))
    assert all(len(turn) <= DUE_PER_TURN for turn in found.turns)
    assert len(set(at)) == len(at), "two lots were served in one turn"


@BOTH_LOOPS
async def test_what_is_added_again_when_it_is_due_goes_on_for_ever() -> None:
    async with noted(1, 2) as found:

        def again(due: Sequence[int]) -> None:
            for thing in due:
                found.deadlines.add(thing)

        found.also = again
        await until(lambda: found.due.count(1) >= 3 and found.due.count(2) >= 3)
        assert abs(found.due.count(1) - found.due.count(2)) <= 1, "a second timer runs"


async def test_what_fails_is_logged_and_the_next_are_due_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async with noted(1) as found:

        def fail(due: Sequence[int]) -> None:
            if 1 in due:
                found.deadlines.add(2)
                raise RuntimeError("the first fails")

        found.also = fail
        await until(lambda: found.due == [1, 2])
    assert "the first fails" in caplog.text


async def test_after_stop_nothing_is_due() -> None:
    async with noted(1) as found, noted(1) as other:
        found.deadlines.stop()
        await until(lambda: other.due)
        assert found.due == []
        assert len(found.deadlines) == 0


async def test_a_single_timer_serves_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_later = loop.call_later

    def note(delay_s: float, *args: object) -> object:
        timers.append(delay_s)
        return call_later(delay_s, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_later", note)
    async with noted(*range(1000), after_s=NEVER_S):
        assert timers == [NEVER_S * (1 + LATE_SHARE)]
