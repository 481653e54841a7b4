"""Tasks are ended for certain."""

import asyncio

from bridge.ending import end


async def test_a_task_that_takes_the_first_cancelling_for_something_else_is_ended() -> None:
    taken = 0

    async def stubborn() -> None:
        nonlocal taken
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            taken += 1
        await asyncio.Event().wait()

    task, other = asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(0))
    await asyncio.sleep(0)
    await end([task, other])
    assert taken == 1
    assert task.cancelled()
    assert other.done()


async def test_tasks_that_have_ended_are_left_alone() -> None:
    async def fails() -> None:
        raise ValueError("its own business")

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    await end([task])
    assert isinstance(task.exception(), ValueError)
