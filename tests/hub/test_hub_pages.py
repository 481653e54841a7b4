"""Each page of the hub's port: status, type, body, and the headers that keep browsers out of trouble."""

import json
import re
from pathlib import Path

import pytest
from websockets.http11 import Response

import hub
from hub.messages import MAX_ID_CHARS
from hub.pages import Pages
from hub.schema import CHANNELS
from hub.topics import MAX_TOPIC_CHARS, parse
from tests.hub.support.served_hub import ask, served_hub

EVERY_PATH = ("/", "/page.js", "/page.css", "/healthz", "/readyz", "/metrics", "/schema", "/instruments")


def pages(*reasons: str, metrics: bytes = b"argus_rows_in_total 7\n", channels: tuple[str, ...] = ("tick",)) -> Pages:
    return Pages(frozenset(channels), lambda: reasons, tuple, lambda: metrics)


def get(path: str, of: Pages | None = None) -> Response:
    response = (of or pages()).get(path)
    assert response is not None
    return response


@pytest.mark.parametrize("path", EVERY_PATH)
def test_every_page_may_load_nothing_from_elsewhere_and_be_framed_by_nobody(path: str) -> None:
    headers = get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["connect-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", EVERY_PATH)
def test_every_page_tells_its_type_and_its_exact_length_and_ends_the_connection(path: str) -> None:
    response = get(path)
    assert (response.status_code, response.reason_phrase) == (200, "OK")
    assert int(response.headers["Content-Length"]) == len(response.body or b"")
    assert response.headers["Connection"] == "close"
    kind = {"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css", "/metrics": "text/plain"}
    assert response.headers["Content-Type"].partition(";")[0] == kind.get(path, "application/json")


@pytest.mark.parametrize("path", ["", "/x", "/healthz/", "/Healthz", "/index.html", "/../run_hub.py", "/page.js/"])
def test_there_is_nothing_at_another_path(path: str) -> None:
    assert pages().get(path) is None


def test_healthz_says_that_the_hub_is_alive_also_when_it_is_not_ready() -> None:
    response = get("/healthz", pages("SH is stale"))
    assert (response.status_code, json.loads(response.body)) == (200, {"status": "alive"})


def test_readyz_is_200_without_reasons_and_503_with_all_of_them() -> None:
    ready = get("/readyz")
    assert (ready.status_code, json.loads(ready.body)) == (200, {"ready": True, "reasons": [], "degraded": []})
    unready = get("/readyz", pages("SH is stale", "the source 迅投 is away"))
    assert (unready.status_code, unready.reason_phrase) == (503, "Service Unavailable")
    assert json.loads(unready.body) == {
        "ready": False,
        "reasons": ["SH is stale", "the source 迅投 is away"],
        "degraded": [],
    }


def test_readyz_asks_anew_each_time() -> None:
    reasons: list[str] = []
    asked = Pages(frozenset(), lambda: reasons, tuple, bytes)
    assert get("/readyz", asked).status_code == 200
    reasons.append("draining")
    assert get("/readyz", asked).status_code == 503


def test_metrics_are_what_they_are_at_the_time() -> None:
    figures = [b"a 1\n", b"a 2\n"]
    asked = Pages(frozenset(), tuple, tuple, lambda: figures.pop(0))
    assert [get("/metrics", asked).body for _ in range(2)] == [b"a 1\n", b"a 2\n"]
    assert "version=0.0.4" in get("/metrics").headers["Content-Type"]


def test_schema_has_the_fields_of_the_hubs_channels_with_their_units_in_wire_order() -> None:
    schema = json.loads(get("/schema", pages(channels=("tick", "status", "1d"))).body)
    assert list(schema["schemas"]) == ["tick", "1d", "status"]
    for name, fields in schema["fields"].items():
        assert schema["schemas"][name] == [field["name"] for field in fields] == list(CHANNELS[name].names)
        assert [field["unit"] for field in fields] == [field.unit for field in CHANNELS[name].fields]
    assert schema["protocol"] == ["argus.v1.msgpack", "argus.v1.json"]
    assert schema["origins"] == {"live": 0, "snapshot": 1, "replay": 2, "backfill": 3}
    assert schema["max_id_chars"] == MAX_ID_CHARS
    assert schema["topics"]["channels"] == ["1d", "status", "tick"]
    assert schema["topics"]["max_chars"] == MAX_TOPIC_CHARS
    example = re.search(r"\d{6}\.[A-Z]{2}", schema["topics"]["instrument"])
    assert example
    assert parse(f"tick:{example[0]}", {}).exact == example[0]


def test_the_start_page_loads_the_files_that_are_served_and_no_others() -> None:
    html = get("/").body.decode()
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", html)
    assert loaded
    for path in loaded:
        assert path.startswith("data:") or get("/" + path.removeprefix("/")).status_code == 200
    assert "<script>" not in html, "the policy forbids scripts in the page"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html), "the policy forbids them"


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(hub.__file__).parent / "static").iterdir()))
def test_every_static_file_is_served(name: str) -> None:
    response = get("/" if name == "index.html" else f"/{name}")
    assert response.body == (Path(hub.__file__).parent / "static" / name).read_bytes()


async def test_over_the_wire_a_page_is_complete() -> None:
    async with served_hub(pages=pages("SH is stale").get) as served:
        answer = await ask(served.port, "/readyz")
        script = await ask(served.port, "/page.js")
    assert (answer.status, json.loads(answer.body)["ready"]) == (503, False)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert script.body == get("/page.js").body.decode()
