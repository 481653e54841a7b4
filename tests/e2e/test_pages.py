"""The plain pages on the hub's port, and who is let in at the handshake."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import HubProcess, running_hub
from tests.e2e.support.plain_client import Data, Encoding, PlainClient, plain_client

TOKEN: Final = "correct-horse-battery"  # noqa: S105 - of the hub under test
EMPTY: Final = ("--symbols", "5")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    options = ("--symbols", "100", "--speed", "10", "--heartbeat-s", "0.2")
    with running_hub(*options, log_file=tmp_path_factory.mktemp("pages") / "hub.log") as hub:
        yield hub


@pytest.fixture(scope="module")
def guarded_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    log_file = tmp_path_factory.mktemp("guarded") / "hub.log"
    with running_hub(*EMPTY, log_file=log_file, variables={"ARGUS_TOKEN": TOKEN}) as hub:
        yield hub


async def refusal(url: str, **options: Any) -> tuple[int, str]:
    """Status and body of a handshake that the hub refuses."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, proxy=None, **options):
            pass
    return refused.value.response.status_code, (refused.value.response.body or b"").decode()


def metrics_of(hub: HubProcess) -> dict[str, float]:
    """The newest figures: by name, and with labels where a figure has them, the sum over those."""
    page = hub.get("/metrics")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/plain")
    figures: dict[str, float] = {}
    for family in text_string_to_metric_families(page.body):
        for sample in family.samples:
            figures[sample.name] = figures.get(sample.name, 0) + sample.value
    return figures


def test_the_hub_says_once_on_standard_output_where_it_listens(hub: HubProcess) -> None:
    assert hub.stdout == [f"Argus Hub is listening on http://127.0.0.1:{hub.port}/ (ws://127.0.0.1:{hub.port}/ws)"]


def test_healthz_says_that_the_hub_is_alive(hub: HubProcess) -> None:
    page = hub.get("/healthz")
    assert (page.status, json.loads(page.body)) == (200, {"status": "alive"})


async def test_readyz_is_200_once_fresh_data_can_be_served(hub: HubProcess) -> None:
    async with plain_client(hub.ws_url) as client:
        await client.send("subscribe", topics=["tick:*"])
        await client.until(lambda message: isinstance(message, Data))
        page = hub.get("/readyz")
    assert page.headers["content-type"].startswith("application/json")
    assert (page.status, json.loads(page.body)) == (200, {"ready": True, "reasons": [], "degraded": []})


async def test_readyz_is_503_with_the_reason_when_an_open_market_is_stale(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "500", "--speed", "60", "--faults", "silence@30+3600", "--heartbeat-s", "0.1")
    async with plain_client(hub.ws_url) as client:
        # The heartbeat tells it to clients; from then on the page must say so too.
        await client.until(
            lambda message: (
                isinstance(message, dict)
                and message["type"] == "heartbeat"
                and any(market["state"] == "stale" for market in message["markets"].values())
            )
        )
        page = hub.get("/readyz")
        assert hub.get("/healthz").status == 200
    body = json.loads(page.body)
    assert (page.status, body["ready"]) == (503, False)
    assert any("stale" in reason for reason in body["reasons"])


async def test_metrics_count_rows_clients_subscriptions_and_bytes(hub: HubProcess) -> None:
    before = metrics_of(hub)
    async with plain_client(hub.ws_url) as one, plain_client(hub.ws_url) as other:
        await one.request("subscribed", "subscribe", id=1, topics=["tick:*", "tick:*.SH"])
        await other.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        received = 0
        while received < 300:
            message = await one.receive()
            received += len(message.rows) if isinstance(message, Data) and message.origin == "live" else 0
        during = metrics_of(hub)
    assert during["argus_clients"] == 2
    assert during["argus_subscriptions"] == 3
    assert during["argus_topics"] > 0
    assert during["argus_rows_in_total"] > before["argus_rows_in_total"]
    assert during["argus_batches_in_total"] > before["argus_batches_in_total"]
    assert during["argus_rows_out_total"] >= before["argus_rows_out_total"] + 300
    assert during["argus_pending_bytes"] >= 0
    assert during["argus_batch_rows_count"] > before["argus_batch_rows_count"]
    assert during["argus_batch_rows_sum"] > before["argus_batch_rows_sum"]
    assert during["argus_publish_to_socket_seconds_count"] > 0
    assert during["argus_event_loop_lag_seconds_count"] > 0
    assert during["argus_source_state"] == 1
    assert during["argus_market_state"] == len({"SH", "SZ", "BJ"})
    assert during["argus_data_age_seconds"] >= 0
    assert during["argus_build_info"] == 1
    if sys.platform == "linux":
        assert during["process_resident_memory_bytes"] == pytest.approx(hub.rss_bytes, rel=0.2)


async def test_schema_is_what_welcome_announces(hub: HubProcess) -> None:
    page = hub.get("/schema")
    assert page.status == 200
    assert page.headers["content-type"].startswith("application/json")
    schema = json.loads(page.body)
    async with plain_client(hub.ws_url) as client:
        assert schema["schemas"] == client.welcome["schemas"]
    assert {name: [field["name"] for field in fields] for name, fields in schema["fields"].items()} == schema["schemas"]
    assert all(field["meaning"] for fields in schema["fields"].values() for field in fields)
    assert sorted(schema["schemas"]) == schema["topics"]["channels"]


def test_the_start_page_is_html_that_loads_nothing_from_elsewhere(hub: HubProcess) -> None:
    page = hub.get("/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.body.lower().startswith("<!doctype html>")
    assert "http://" not in page.body
    assert "https://" not in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_an_unknown_path_is_404(hub: HubProcess) -> None:
    assert hub.get("/nothing").status == 404
    assert hub.get("/../run_hub.py").status == 404
    assert hub.get("/static/../../run_hub.py").status == 404


def test_ws_without_an_upgrade_is_refused(hub: HubProcess) -> None:
    page = hub.get("/ws")
    assert page.status == 426
    assert "WebSocket" in page.body


async def test_only_unknown_subprotocols_are_refused_with_the_known_ones(hub: HubProcess) -> None:
    status, body = await refusal(hub.ws_url, subprotocols=[Subprotocol("argus.v9"), Subprotocol("mqtt")])
    assert status == 400
    assert "argus.v1.json" in body
    assert "argus.v1.msgpack" in body


@pytest.mark.parametrize(
    ("query", "subprotocols", "encoding", "chosen"),
    [
        ("", [], "json", None),
        ("?encoding=json", [], "json", None),
        ("?encoding=msgpack", [], "msgpack", None),
        ("", ["argus.v1.json"], "json", "argus.v1.json"),
        ("", ["argus.v1.msgpack"], "msgpack", "argus.v1.msgpack"),
        ("", ["mqtt", "argus.v1.msgpack"], "msgpack", "argus.v1.msgpack"),
        ("?encoding=json", ["argus.v1.msgpack"], "msgpack", "argus.v1.msgpack"),
    ],
)
async def test_the_encoding_is_that_of_the_subprotocol_or_of_the_query(
    hub: HubProcess, query: str, subprotocols: list[str], encoding: Encoding, chosen: str | None
) -> None:
    offered = [Subprotocol(name) for name in subprotocols] or None
    async with connect(hub.ws_url + query, subprotocols=offered, compression=None, proxy=None) as socket:
        assert socket.subprotocol == chosen
        client = PlainClient(socket, encoding)
        assert isinstance(welcome := await client.receive(), dict)
        assert welcome["type"] == "welcome"


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_both_frame_types_are_read_whatever_the_encoding(hub: HubProcess, encoding: Encoding) -> None:
    async with plain_client(hub.ws_url, encoding) as client:
        await client.socket.send('{"op":"ping","id":"text"}')
        await client.control("pong", "text")
        await client.socket.send(b"\x82\xa2op\xa4ping\xa2id\xa6binary")
        await client.control("pong", "binary")


async def test_a_page_of_another_host_may_not_connect(hub: HubProcess) -> None:
    own = f"127.0.0.1:{hub.port}"
    for foreign in ("https://evil.example", f"http://{own}.evil.example", "http://127.0.0.1:1", "null"):
        assert (await refusal(hub.ws_url, origin=foreign))[0] == 403
    async with plain_client(hub.ws_url, origin=f"http://{own}"):
        pass
    async with plain_client(hub.ws_url):
        pass


async def test_a_page_of_an_allowed_origin_may_connect(start_hub: StartHub) -> None:
    hub = start_hub(*EMPTY, "--allowed-origins", "https://desk.example")
    async with plain_client(hub.ws_url, origin="https://desk.example"):
        pass
    assert (await refusal(hub.ws_url, origin="http://desk.example"))[0] == 403


async def test_more_clients_than_allowed_are_refused_with_503(start_hub: StartHub) -> None:
    hub = start_hub(*EMPTY, "--max-clients", "3")
    async with AsyncExitStack() as clients:
        for _ in range(3):
            await clients.enter_async_context(plain_client(hub.ws_url))
        assert (await refusal(hub.ws_url))[0] == 503
        assert hub.get("/healthz").status == 200
    async with plain_client(hub.ws_url):  # there is room again
        pass


@pytest.fixture
async def stranger(guarded_hub: HubProcess) -> AsyncIterator[PlainClient]:
    """A client that has shown no token."""
    async with plain_client(guarded_hub.ws_url) as client:
        yield client


async def test_until_the_token_is_shown_every_op_is_unauthorized(stranger: PlainClient) -> None:
    for op, fields in (
        ("subscribe", {"topics": ["tick:*"]}),
        ("unsubscribe", {"topics": ["tick:*"]}),
        ("snapshot", {"topics": ["tick:*"]}),
        ("topics", {"pattern": "tick:*"}),
        ("ping", {}),
    ):
        await stranger.send(op, id=op, **fields)
        assert (await stranger.error(op))["code"] == "unauthorized"
    assert await stranger.request("authenticated", "auth", id=7, token=TOKEN) == {"type": "authenticated", "id": 7}
    await stranger.request("subscribed", "subscribe", id=8, topics=["tick:*"])


async def test_a_wrong_token_is_answered_and_closes_the_connection(stranger: PlainClient) -> None:
    await stranger.send("auth", id=1, token=TOKEN[:-1])
    assert (await stranger.error(1))["code"] == "unauthorized"
    assert (await stranger.closed())[0] == 4401


async def test_who_shows_no_token_in_time_is_closed(stranger: PlainClient) -> None:
    assert (await stranger.closed())[0] == 4401


async def test_the_token_in_the_header_of_the_handshake_is_enough(guarded_hub: HubProcess) -> None:
    async with plain_client(guarded_hub.ws_url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        await client.request("authenticated", "auth", id=2, token=TOKEN)


async def test_a_wrong_token_in_the_header_is_refused(guarded_hub: HubProcess) -> None:
    for value in (f"Bearer {TOKEN}x", "Bearer", "", f"Basic {TOKEN}", TOKEN):
        assert (await refusal(guarded_hub.ws_url, additional_headers={"Authorization": value}))[0] == 401


@pytest.mark.parametrize("name", ["token", "access_token", "auth", "authorization"])
async def test_a_token_in_the_url_is_not_read(guarded_hub: HubProcess, name: str) -> None:
    async with plain_client(f"{guarded_hub.ws_url}?{name}={TOKEN}") as client:
        await client.send("ping", id=1)
        assert (await client.error(1))["code"] == "unauthorized"


async def test_the_token_file_is_read(start_hub: StartHub, tmp_path: Any) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(f"{TOKEN}\n", encoding="utf-8")
    hub = start_hub(*EMPTY, "--token-file", str(token_file))
    async with plain_client(hub.ws_url) as client:
        await client.send("ping", id=1)
        assert (await client.error(1))["code"] == "unauthorized"
        await client.request("authenticated", "auth", id=2, token=TOKEN)


async def test_where_no_token_is_needed_auth_is_answered_all_the_same(hub: HubProcess) -> None:
    async with plain_client(hub.ws_url) as client:
        assert await client.request("authenticated", "auth", id=1, token="anything") == {  # noqa: S106 - no secret
            "type": "authenticated",
            "id": 1,
        }


async def test_a_token_never_gets_into_the_log(guarded_hub: HubProcess, stranger: PlainClient) -> None:
    await stranger.send("auth", id=1, token="wrong-" + TOKEN)
    await stranger.closed()
    assert TOKEN not in guarded_hub.log()
