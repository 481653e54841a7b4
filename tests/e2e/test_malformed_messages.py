"""Two thousand malformed messages: each is answered, the hub stays as it was, and nobody else notices."""

import asyncio
import sys
from collections import Counter
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.conftest import StartHub
from tests.e2e.support.malformed import Case, malformed
from tests.e2e.support.plain_client import Control, Data, PlainClient, plain_client

MESSAGES: Final = 2_000
KINDS: Final = 26
MEMORY_GROWTH_LIMIT_BYTES: Final = 8 * 2**20
DOCUMENTED_CLOSES: Final = frozenset({4400, 1007, 1009, 4429})

MARKET: Final = ("--symbols", "50", "--speed", "20", "--ring-rows", "50", "--heartbeat-s", "0.2")
"""A small market whose history is soon full, so that its growth isn't taken for a leak."""
GENEROUS: Final = ("--max-requests-per-s", "100000")


async def answer(client: PlainClient, case: Case) -> Control | int:
    """The error or the close code that a frame gets."""
    try:
        await client.socket.send(case.payload, text=case.text)
        while True:
            message = await client.receive()
            assert isinstance(message, dict), f"{case.kind}: rows came: {message}"
            if message["type"] != "heartbeat":
                assert message["type"] == "error", f"{case.kind}: {case.payload[:200]!r} was answered {message}"
                return message
    except ConnectionClosed:
        await client.socket.wait_closed()
        assert client.socket.close_code is not None
        return client.socket.close_code


def check(case: Case, reply: Control | int) -> None:
    shown = f"{case.kind}: {case.payload[:200]!r} was answered {reply}"
    if isinstance(reply, int):
        assert reply in case.closes, shown
        assert reply in DOCUMENTED_CLOSES, shown
        return
    assert reply["code"] in case.errors, shown
    assert reply.get("id") == case.request_id, shown
    assert set(reply) - {"id"} == {"type", "code", "message", "retryable", "retry_in_ms"}, shown
    assert isinstance(reply["message"], str), shown
    assert 0 < len(reply["message"]) < 1_000, f"{case.kind}: a message of {len(reply['message'])} characters"
    assert "\n" not in reply["message"], shown
    assert reply["retryable"] is False, shown


async def send_all(url: str, cases: list[Case]) -> Counter[str]:
    """Send each and check its answer, on one connection for as long as the hub keeps it; how often each kind came."""
    kinds: Counter[str] = Counter()
    waiting = iter(cases)
    case = next(waiting, None)
    while case:
        async with plain_client(url, "msgpack" if len(kinds) % 2 else "json") as client:
            reply: Control | int = {}
            while case and not isinstance(reply, int):
                reply = await answer(client, case)
                check(case, reply)
                kinds[case.kind] += 1
                case = next(waiting, None)
    return kinds


async def follow(url: str, over: asyncio.Event) -> int:
    """Watch all topics; fail at the first hole or repetition. How many rows came."""
    newest: dict[str, int] = {}
    count = 0
    async with plain_client(url, "msgpack") as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        while not over.is_set():
            message = await client.receive()
            if not isinstance(message, Data):
                assert message["type"] == "heartbeat", message
                continue
            for code, seq, *_ in message.rows:
                assert seq == newest.get(code, seq - 1) + 1, f"{code}: seq {seq} after {newest.get(code)}"
                newest[code] = seq
            count += len(message.rows)
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_each_malformed_message_gets_an_error_or_a_documented_close_and_nobody_else_notices(
    start_hub: StartHub,
) -> None:
    hub = start_hub(*MARKET, *GENEROUS)
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        healthy = tasks.create_task(follow(hub.ws_url, over))
        async with plain_client(hub.ws_url) as client:
            limits = client.welcome["limits"]
        await send_all(hub.ws_url, list(malformed(MESSAGES // 4, 1, limits)))  # what the allocator keeps, it keeps now
        before_bytes = hub.rss_bytes
        kinds = await send_all(hub.ws_url, list(malformed(MESSAGES, 2, limits)))
        grown_bytes = hub.rss_bytes - before_bytes
        over.set()
    assert kinds.total() == MESSAGES
    assert len(kinds) >= KINDS, f"only {sorted(kinds)} were tried"
    assert healthy.result() > 0
    assert grown_bytes < MEMORY_GROWTH_LIMIT_BYTES, f"the hub grew by {grown_bytes:,} bytes"


async def test_a_well_formed_pattern_of_many_stars_is_answered_like_any_other(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "500")
    async with plain_client(hub.ws_url) as client:
        await client.request("subscribed", "subscribe", id=0, topics=["tick:*"])
        pattern = "tick:" + "*0" * 40 + "*X"
        assert (await client.request("subscribed", "subscribe", id=1, topics=[pattern]))["matched"] == 0
        assert (await client.request("topics", "topics", id=2, pattern=pattern))["topics"] == []
        every = await client.request("topics", "topics", id=3, pattern="tick:" + "*" * 90)
        assert len(every["topics"]) == len((await client.request("topics", "topics", id=4, pattern="tick:*"))["topics"])


async def test_a_bad_request_does_not_close_the_connection_and_changes_nothing(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "50", "--speed", "20")
    async with plain_client(hub.ws_url) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        await client.send("subscribe", id=2, topics=["tick:*.SH", "tock:*"])
        assert (await client.error(2))["code"] == "unknown_channel"
        await client.send("unsubscribe", id=3, topics=["tick:*", "tick:*.SH"])
        assert (await client.error(3))["code"] == "bad_topic"
        await client.until(lambda message: isinstance(message, Data) and message.origin == "live")
        await client.request("unsubscribed", "unsubscribe", id=4, topics=["tick:*"])


async def test_too_many_requests_are_refused_and_a_flood_of_them_closes_the_connection(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "5", "--max-requests-per-s", "1")
    async with plain_client(hub.ws_url) as client:
        refused = 0
        try:
            while True:
                await client.send("ping", id=1)
                reply = await client.receive()
                if isinstance(reply, dict) and reply["type"] == "error":
                    assert (reply["id"], reply["code"]) == (1, "rate_limited")
                    assert reply["retryable"] is True
                    assert reply["retry_in_ms"] > 0
                    refused += 1
        except ConnectionClosed:
            assert client.socket.close_code == 4429
        assert refused > 0
    async with plain_client(hub.ws_url) as client:  # who behaves is welcome again
        await client.request("pong", "ping", id=2)
