"""Who may feed: on this machine anybody where no token is set, from elsewhere only who shows one, browsers never."""

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.bridge.support.feeding import PlainFeeder, fed_hub, no_task_is_left, plain_feeder

SECRET = "correct-horse-battery"  # noqa: S105 - of the hub under test


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> Any:
    with no_task_is_left():
        yield


async def refusal(url: str, headers: dict[str, str]) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, additional_headers=headers, proxy=None)
    response = caught.value.response
    return response.status_code, (response.body or b"").decode()


async def test_on_this_machine_a_feeder_needs_no_token_where_none_is_set() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url, token="whatever") as feeder:  # noqa: S106
        await feeder.hello()


async def test_where_a_token_is_set_every_feeder_must_show_it() -> None:
    async with fed_hub(secret=SECRET) as fed:
        for headers in ({}, {"Authorization": f"Bearer {SECRET}x"}, {"Authorization": SECRET}):
            status, body = await refusal(fed.url, headers)
            assert (status, "token" in body, SECRET in body) == (401, True, False)
        async with plain_feeder(fed.url, token=SECRET) as feeder:
            await feeder.hello()


@pytest.mark.parametrize("secret", ["", SECRET])
async def test_browsers_never_feed(secret: str) -> None:
    async with fed_hub(secret=secret) as fed:
        headers = {"Origin": f"http://127.0.0.1:{fed.port}", "Authorization": f"Bearer {SECRET}"}
        assert (await refusal(fed.url, headers))[0] == 403


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_from_beyond_this_machine_only_a_token_gives_the_right_also_behind_a_proxy(header: str) -> None:
    headers = {header: "192.0.2.7"}
    async with fed_hub() as fed:
        status, body = await refusal(fed.url, headers)
        assert (status, "feed_token" in body) == (403, True)
    async with fed_hub(secret=SECRET) as fed:
        socket = await connect(fed.url, additional_headers=headers | {"Authorization": f"Bearer {SECRET}"}, proxy=None)
        await PlainFeeder(socket).hello()
        await socket.close()
