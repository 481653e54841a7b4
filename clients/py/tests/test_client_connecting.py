"""The first connection: it fails at once unless it was asked to wait for its hub."""

import asyncio

import pytest
from fake_hub import FakeHub

from argus_client import Backoff, ConnectError, connect


async def test_a_hub_that_is_not_there_yet_is_waited_for_where_that_was_asked() -> None:
    fruitless: list[float] = []

    def draw(least: float, most: float) -> float:
        fruitless.append(most)
        if len(fruitless) == 3:
            fake._refuse = None
        return 0.0

    async with (
        FakeHub(refuse=(503, "starting")) as fake,
        connect(fake.url, retry_first=True, reconnect=Backoff(uniform=draw)) as hub,
    ):
        assert hub.connected
    assert fruitless == [1, 2, 4]


async def test_it_is_waited_for_also_where_a_later_loss_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def pause_s(self: Backoff, fruitless: int) -> float:
        fake._refuse = None
        return 0.0

    monkeypatch.setattr(Backoff, "pause_s", pause_s)
    async with FakeHub(refuse=(503, "starting")) as fake:
        async with connect(fake.url, retry_first=True, reconnect=False) as hub:
            assert hub.connected
        assert len(fake.handshakes) == 2


@pytest.mark.parametrize(("status", "retry_first"), [(503, False), (401, True), (403, True)])
async def test_else_it_fails_at_once(status: int, retry_first: bool) -> None:
    async with FakeHub(refuse=(status, "no")) as fake:
        with pytest.raises(ConnectError, match=f"HTTP {status}: no"):
            await connect(fake.url, retry_first=retry_first)
        assert len(fake.handshakes) == 1


async def test_the_waiting_can_be_given_up() -> None:
    tried = asyncio.Event()

    def draw(least: float, most: float) -> float:
        tried.set()
        return 0.0

    async def wait_for_hub(url: str) -> None:
        await connect(url, retry_first=True, reconnect=Backoff(uniform=draw))

    async with FakeHub(refuse=(503, "starting")) as fake:
        waiting = asyncio.ensure_future(wait_for_hub(fake.url))
        await tried.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
