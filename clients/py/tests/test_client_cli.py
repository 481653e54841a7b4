import asyncio
import errno
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Peer, tick

from argus_client.cli import main
from argus_client.screen import Screen


class Stream(io.StringIO):
    """A terminal, or a pipe."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARGUS_URL", raising=False)
    monkeypatch.delenv("ARGUS_TOKEN", raising=False)


async def run(*argv: str, terminal: bool = False) -> tuple[int, list[str], list[str]]:
    """Run a command; return its exit code and the lines of its output and of its errors."""
    stdout, stderr = Stream(terminal=terminal), Stream(terminal=terminal)
    code = await asyncio.to_thread(main, argv, stdout, stderr)
    return code, stdout.getvalue().splitlines(), stderr.getvalue().splitlines()


async def two_ticks(peer: Peer) -> None:
    request = await peer.expect("subscribe")
    await peer.subscribed(request)
    await peer.rows([tick(seq=1)], origin="snapshot", id=request["id"])
    await peer.gap("tick:600000.SH", **{"from": 2, "to": 4})
    await peer.rows([tick(seq=5)])
    await peer.idle()


async def list_topics(peer: Peer) -> None:
    request = await peer.expect("topics")
    assert request["pattern"] == "tick:688*.SH"
    await peer.say("topics", id=request["id"], topics=[{"topic": "tick:688001.SH", "seq": 3, "time": 1654046100000}])
    await peer.idle()


async def test_tail_writes_json_lines_into_a_pipe() -> None:
    async with FakeHub(two_ticks) as fake:
        code, out, err = await run("tail", "tick:600000.SH", "--count", "2", "--url", fake.url)
    first, gap, second = map(json.loads, out)
    assert first == {"topic": "tick:600000.SH", "origin": "snapshot", **tick(seq=1)}
    assert gap["gap"]["cause"] == "evicted"
    assert (gap["gap"]["topic"], gap["gap"]["from_seq"], gap["gap"]["to_seq"]) == ("tick:600000.SH", 2, 4)
    assert (second["seq"], second["origin"]) == (5, "live")
    assert (code, err) == (0, ["argus: gap in tick:600000.SH: rows from 2 to 4 (evicted)"])


async def test_tail_writes_columns_into_a_terminal_and_says_that_prices_are_simulated() -> None:
    async with FakeHub(two_ticks) as fake:
        code, out, err = await run("tail", "tick:600000.SH", "--count", "2", "--url", fake.url, terminal=True)
    assert out[0].split()[:3] == ["time", "code", "last"]
    assert out[1].split()[:3] == ["09:30:03.000", "600000.SH", "7.31"]
    assert out[2].split()[:3] == ["09:30:15.000", "600000.SH", "7.31"]
    assert len(out) == 3
    assert (code, err) == (
        0,
        [
            "argus: simulated prices, not a market's (source: simulator)",
            "argus: gap in tick:600000.SH: rows from 2 to 4 (evicted)",
        ],
    )


@pytest.mark.parametrize(
    ("source", "remarks"),
    [
        ({"name": "recording", "simulated": False}, ["argus: recorded data, played back"]),
        ({"name": "xtquant", "simulated": False}, []),
    ],
)
async def test_a_terminal_is_told_what_kind_of_source_it_sees(source: dict[str, Any], remarks: list[str]) -> None:
    async with FakeHub(list_topics, welcome={"source": source}) as fake:
        _, _, err = await run("topics", "tick:688*.SH", "--url", fake.url, terminal=True)
    assert err == remarks


@pytest.mark.parametrize(("terminal", "wanted", "first"), [(True, "json", "{"), (False, "text", " ")])
async def test_the_format_can_be_chosen(terminal: bool, wanted: str, first: str) -> None:
    async with FakeHub(two_ticks) as fake:
        _, out, _ = await run(
            "tail", "tick:600000.SH", "--format", wanted, "--count", "1", "--url", fake.url, terminal=terminal
        )
    assert out[0].startswith(first)


async def test_tail_passes_on_where_to_begin() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("topics")
        await peer.say("topics", id=request["id"], topics=[{"topic": "tick:A.SH", "seq": 9, "time": 1654070400000}])
        request = await peer.expect("subscribe")
        assert request["since"] == {"time": 1654047000000}
        await peer.subscribed(request)
        await peer.rows([tick("A.SH")], origin="replay", id=request["id"])
        await peer.idle()

    async with FakeHub(script) as fake:
        code, out, _ = await run("tail", "tick:A.SH", "--since", "09:30:00", "--count", "1", "--url", fake.url)
    assert code == 0
    assert len(out) == 1


async def test_topics_are_listed() -> None:
    async with FakeHub(list_topics) as fake:
        code, out, _ = await run("topics", "tick:688*.SH", "--url", fake.url)
    assert (code, out) == (0, ['{"topic":"tick:688001.SH","seq":3,"time":1654046100000}'])


async def test_a_snapshot_is_written() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("snapshot")
        assert request["topics"] == ["tick:A.SH", "tick:B.SH"]
        await peer.rows(rows, origin="snapshot", id=request["id"])
        await peer.say("snapshot_done", id=request["id"], count=len(rows))
        await peer.idle()

    rows = [tick("A.SH", 4)]
    async with FakeHub(script) as fake:
        code, out, _ = await run("snapshot", "tick:A.SH", "tick:B.SH", "--url", fake.url)
        assert code == 0
        assert [json.loads(line)["seq"] for line in out] == [4]
        rows = []
        code, out, err = await run("snapshot", "tick:A.SH", "tick:B.SH", "--url", fake.url, terminal=True)
        assert (code, out, err[-1]) == (0, [], "argus: no row yet")


async def test_ping_tells_the_hubs_name_and_time() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("ping")
        await peer.say("pong", id=request["id"], time=1654046100000)
        await peer.idle()

    async with FakeHub(script) as fake:
        _, text, _ = await run("ping", "--format", "text", "--url", fake.url)
        code, out, _ = await run("ping", "--url", fake.url)
    assert text[0].startswith(f"fake-hub 0 at {fake_url(text[0])} answered in ")
    assert text[0].endswith(" ms; its time is 09:15:00.000")
    facts = json.loads(out[0])
    assert (code, facts["time"], facts["server"]) == (0, 1654046100000, "fake-hub 0")
    assert facts["round_trip_ms"] > 0


def fake_url(text: str) -> str:
    return next(word for word in text.split() if word.startswith("ws://"))


async def test_the_address_is_read_from_the_environment_and_an_option_before_the_command_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with FakeHub(list_topics) as fake:
        monkeypatch.setenv("ARGUS_URL", fake.url)
        assert (await run("topics", "tick:688*.SH"))[0] == 0
        monkeypatch.setenv("ARGUS_URL", "ws://127.0.0.1:1/ws")
        assert (await run("--url", fake.url, "topics", "tick:688*.SH"))[0] == 0
        assert (await run("--url", "ws://127.0.0.1:1/ws", "topics", "tick:688*.SH", "--url", fake.url))[0] == 0


async def test_the_token_comes_from_the_environment_or_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n", encoding="utf-8")
    monkeypatch.setenv("ARGUS_TOKEN", "from-environment")
    async with FakeHub(list_topics) as fake:
        await run("topics", "tick:688*.SH", "--url", fake.url)
        await run("topics", "tick:688*.SH", "--url", fake.url, "--token-file", str(file))
    assert [request.headers["Authorization"] for request in fake.handshakes] == [
        "Bearer from-environment",
        "Bearer from-file",
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["tail"], "TOPIC"),
        (["tail", "tick:A.SH", "--count", "0"], "'0' is not a number above 0"),
        (["tail", "tick:A.SH", "--since", "opne"], "'opne' is none of"),
        (["tail", "tick:A.SH", "--format", "xml"], "invalid choice"),
        (["tail", "tick:A.SH", "--token", "s3cret"], "unrecognized arguments"),
        (["--token", "s3cret", "tail", "tick:A.SH"], "invalid choice: 's3cret'"),
        ([], "COMMAND"),
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


async def test_settings_that_cannot_be_meant_are_one_line_and_exit_with_2(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for argv, says in (
        (["ping", "--url", "http://127.0.0.1:8765"], "argus: 'http://127.0.0.1:8765' is not a hub's address"),
        (["ping", "--token-file", str(missing)], "argus: cannot read the token file"),
    ):
        code, out, err = await run(*argv)
        assert (code, out, len(err)) == (2, [], 1)
        assert err[0].startswith(says)
    async with FakeHub() as fake:
        code, _, err = await run("tail", "600000.SH", "--url", fake.url)
    assert (code, err) == (2, ["argus: '600000.SH' is not a topic: it must look like tick:600000.SH"])


async def test_nobody_there_is_one_line_and_exits_with_1() -> None:
    async with FakeHub() as fake:
        url = fake.url
    code, out, err = await run("tail", "tick:*", "--url", url)
    assert (code, out) == (1, [])
    assert err == [f"argus: cannot connect to {url}: connection refused; is the hub running there?"]


async def test_a_refusal_is_one_line_and_exits_with_1() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.refuse(await peer.expect("subscribe"), "unknown_channel", "there is no channel 'tock'")
        await peer.idle()

    async with FakeHub(refuse) as fake:
        assert await run("tail", "tock:A.SH", "--url", fake.url) == (
            1,
            [],
            ["argus: unknown_channel: there is no channel 'tock'"],
        )


async def test_tail_waits_for_a_hub_that_goes_away_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1), tick(seq=2)])
        await peer.say("draining", reason="update", close_in_ms=0)
        await peer.close(1012, "update")

    async def second(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), replayed=1)
        await peer.rows([tick(seq=3)], origin="replay")
        await peer.idle()

    scripts = iter((first, second))

    async def script(peer: Peer) -> None:
        await next(scripts)(peer)

    monkeypatch.setattr("argus_client.backoff.Backoff.pause_s", lambda backoff, fruitless: 0.0)
    async with FakeHub(script) as fake:
        code, out, err = await run("tail", "tick:*", "--since", "none", "--count", "3", "--url", fake.url)
    assert (code, [json.loads(line)["seq"] for line in out]) == (0, [1, 2, 3])
    assert err[:2] == [
        "argus: the hub is going to restart: update",
        "argus: connection lost: the hub restarts, or its history began anew (1012: update); trying again",
    ]
    assert err[2].startswith("argus: connected again after ")
    assert len(err) == 3


async def test_tail_does_not_wait_for_a_hub_that_sends_it_away() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.close(4409, "off with you")

    async with FakeHub(script) as fake:
        code, _, err = await run("tail", "tick:*", "--url", fake.url)
    assert (code, err) == (1, ["argus: connection lost: kicked by an administrator (4409: off with you)"])


async def start(fake: FakeHub, *argv: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "argus_client",
        *argv,
        "--url",
        fake.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONASYNCIODEBUG": ""},  # it would have its say on standard error
    )


async def endless(peer: Peer) -> None:
    await peer.subscribed(await peer.expect("subscribe"))
    seq = 0
    while True:
        await peer.rows([tick(seq=(seq := seq + 1))])


@pytest.mark.skipif(sys.platform == "win32", reason="a process can't be sent Ctrl-C alone on Windows")
async def test_ctrl_c_exits_with_130_and_says_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick()])
        await peer.idle()

    async with FakeHub(script) as fake:
        process = await start(fake, "tail", "tick:*")
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"")


async def test_an_output_that_cannot_be_written_is_one_line_and_exits_with_1() -> None:
    class Full(Stream):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    async with FakeHub(two_ticks) as fake:
        stderr = Stream(terminal=False)
        argv = ["tail", "tick:600000.SH", "--url", fake.url]
        assert await asyncio.to_thread(main, argv, Full(terminal=False), stderr) == 1
    assert stderr.getvalue().splitlines()[-1] == "argus: [Errno 28] No space left on device"


async def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    async with FakeHub(endless) as fake:
        process = await start(fake, "tail", "tick:*")
        assert process.stdout is not None
        assert process.stderr is not None
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        err = await process.stderr.read()
        assert (await process.wait(), err) == (0, b"")


def test_what_a_reader_that_left_did_not_take_is_not_tried_again_at_the_end() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stdout:
        screen = Screen(stdout, io.StringIO(), "json")
        screen.show_facts("", {"waits": "in the buffer"})
        os.close(reading)
        screen.close()
        assert stdout.closed
