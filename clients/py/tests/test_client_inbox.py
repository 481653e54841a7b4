import asyncio
import logging
from typing import Any

import pytest
from fake_hub import TICK_FIELDS, tick

from argus_client.errors import ConnectionLost
from argus_client.inbox import YIELD_EVERY_ROWS, Brake, Inbox
from argus_client.rows import Row, Schemas

SCHEMAS = Schemas({"tick": TICK_FIELDS})


def rows(count: int) -> list[Row]:
    return SCHEMAS.rows("tick", "live", [list(tick(seq=seq).values()) for seq in range(1, count + 1)])


def filled(count: int, limit_rows: int = 100, brake: Brake | None = None) -> Inbox:
    inbox = Inbox("tick:*", limit_rows, brake or Brake())
    for row in rows(count):
        inbox.put(row)
    return inbox


async def drain(inbox: Inbox) -> list[Any]:
    got = []
    while inbox:
        got.append((await inbox.get()).seq)  # type: ignore[union-attr]
    return got


async def test_rows_come_out_in_the_order_in_which_they_went_in() -> None:
    assert await drain(filled(5)) == [1, 2, 3, 4, 5]


async def test_a_reader_that_waits_is_woken_by_a_row() -> None:
    inbox = filled(0)
    reader = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.put(rows(1)[0])
    assert (await reader).seq == 1  # type: ignore[union-attr]


async def test_a_full_queue_pulls_the_brake_and_half_of_it_read_releases_it() -> None:
    brake = Brake()
    inbox = filled(3, limit_rows=4, brake=brake)
    assert not brake.on
    inbox.put(rows(1)[0])
    assert brake.on
    await inbox.get()
    assert brake.on
    await inbox.get()
    assert not brake.on


@pytest.mark.parametrize("limit_rows", [1, 2, 3, 10])
async def test_a_queue_that_overflowed_releases_the_brake_before_its_reader_has_to_wait(limit_rows: int) -> None:
    brake = Brake()
    inbox = filled(25, limit_rows, brake)
    for _ in range(3):  # the same after a second and a third fill
        assert brake.on
        await drain(inbox)
        assert not brake.on
        for row in rows(25):
            inbox.put(row)


async def test_nothing_is_dropped_above_the_bound() -> None:
    assert await drain(filled(50, limit_rows=2)) == list(range(1, 51))


async def test_the_brake_stays_on_while_any_queue_is_full() -> None:
    brake = Brake()
    first, second = filled(2, 2, brake), filled(2, 2, brake)
    await drain(first)
    assert brake.on
    await drain(second)
    assert not brake.on


async def test_the_brake_is_off_while_a_reply_is_awaited_and_on_again_after() -> None:
    brake = Brake()
    filled(2, 2, brake)
    brake.expect(1)
    brake.expect(2)
    assert not brake.on
    brake.settle(1)
    assert not brake.on
    await brake.wait_off()
    brake.settle(2)
    assert brake.on
    brake.settle(2)
    assert brake.on


@pytest.mark.parametrize("end", [Inbox.discard, lambda inbox: inbox.end(ConnectionLost(1006, ""))])
async def test_a_queue_that_ends_no_longer_brakes(end: Any) -> None:
    brake = Brake()
    inbox = filled(2, 2, brake)
    end(inbox)
    assert not brake.on
    inbox.put(rows(1)[0])
    inbox.put(rows(1)[0])
    assert not brake.on


async def test_after_an_error_the_rest_is_read_first_and_then_the_error_is_raised_every_time() -> None:
    inbox = filled(2)
    inbox.end(ConnectionLost(4408, "slow consumer"))
    assert await drain(inbox) == [1, 2]
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="4408: slow consumer"):
            await inbox.get()


async def test_a_discarded_queue_is_empty_and_stops_its_reader() -> None:
    inbox = filled(0)
    reader = asyncio.ensure_future(anext_of(inbox))
    await asyncio.sleep(0)
    inbox.discard()
    assert await reader == "stopped"
    assert len(inbox) == 0


async def anext_of(inbox: Inbox) -> object:
    try:
        return await inbox.get()
    except StopAsyncIteration:
        return "stopped"


async def test_a_second_reader_is_told_that_there_is_one_already() -> None:
    inbox = filled(0)
    reader = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task is reading"):
        await inbox.get()
    inbox.put(rows(1)[0])
    await reader


async def test_cancelling_a_reader_loses_no_row() -> None:
    inbox = filled(3 * YIELD_EVERY_ROWS, limit_rows=10_000)
    got: list[int] = []

    async def read() -> None:
        while True:
            got.append((await inbox.get()).seq)  # type: ignore[union-attr]

    while inbox:
        reader = asyncio.ensure_future(read())
        await asyncio.sleep(0)  # it reads until it lets others run
        reader.cancel()
        await asyncio.wait([reader])
    assert got == list(range(1, 3 * YIELD_EVERY_ROWS + 1))


async def test_a_reader_that_never_has_to_wait_lets_others_run() -> None:
    inbox = filled(10 * YIELD_EVERY_ROWS, limit_rows=10_000)
    left_when_others_ran: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: left_when_others_ran.append(len(inbox)))
    await drain(inbox)
    assert left_when_others_ran
    assert left_when_others_ran[0] > 8 * YIELD_EVERY_ROWS


async def test_a_full_queue_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "argus_client"):
        inbox = filled(2, 2)
        await drain(inbox)
        for row in rows(2):
            inbox.put(row)
    assert [record.getMessage() for record in caplog.records] == [
        "the queue of tick:* is full (2 rows): reading pauses until half is read"
    ]
