"""The command line: mistakes are told in one line, signals end the hub in order, and what it records can be played."""

import signal
import socket
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import run_to_its_end
from tests.e2e.support.plain_client import Data, PlainClient, Row, plain_client

EXAMPLE: Final = """\
code,time,lastPrice,open,high,low,lastClose,amount,volume,pvolume,openInt,transactionNum,\
askPrice1,askPrice2,askPrice3,askPrice4,askPrice5,bidPrice1,bidPrice2,bidPrice3,bidPrice4,bidPrice5,\
askVol1,askVol2,askVol3,askVol4,askVol5,bidVol1,bidVol2,bidVol3,bidVol4,bidVol5
600000.SH,1654047000000,8.01,8,8.02,7.99,8,801000,1000,100000,13,9,8.02,8.03,8.04,8.05,8.06,8.01,8,7.99,7.98,7.97,\
10,20,30,40,50,11,21,31,41,51
000001.SZ,1654047000000,14.2,14.1,14.3,14,14.1,1420000,1000,99950,13,8,14.21,14.22,0,0,0,14.2,14.19,14.18,14.17,14.16,\
5,6,0,0,0,7,8,9,10,11
600000.SH,1654047003000,8.02,8,8.02,7.99,8,881200,1100,110000,13,12,8.03,8.04,8.05,8.06,8.07,8.02,8.01,8,7.99,7.98,\
12,22,32,42,52,13,23,33,43,53
"""
ROWS: Final = 3


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "example.csv"
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


def check_refusal(*options: str, names: str, variables: dict[str, str] | None = None) -> None:
    """The hub refuses its settings: exit code 2, and one line that names what is wrong."""
    ended = run_to_its_end(*options, variables=variables or {})
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert names in lines[0]
    assert "Traceback" not in lines[0]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--port", "99999"], "--port"),
        (["--port", "http"], "--port"),
        (["--symbols", "0"], "--symbols"),
        (["--symbols", "many"], "--symbols"),
        (["--speed", "-1"], "--speed"),
        (["--interval", "nan"], "--interval"),
        (["--source", "newspaper"], "--source"),
        (["--log-format", "xml"], "--log-format"),
        (["--sim-start", "half past nine"], "--sim-start"),
        (["--faults", "explosion@30"], "fault"),
        (["--port"], "--port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_told_in_one_line(options: list[str], names: str) -> None:
    check_refusal(*options, names=names)


def test_an_unknown_option_is_told_in_one_line() -> None:
    check_refusal("--simbols", "5", names="--simbols")


def test_a_word_that_belongs_to_no_option_is_told_in_one_line() -> None:
    check_refusal("start", names="start")


def test_an_option_that_has_no_effect_is_told_in_the_log(tmp_path: Path) -> None:
    ended = run_to_its_end("--relay-name", "x", "--source", "recording", "--recording", str(tmp_path / "none.csv"))
    assert ended.returncode == 2
    assert "--relay-name has no effect with role all" in ended.stderr.splitlines()[0]


def test_an_unknown_key_in_the_file_is_told_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("symbols = 5\nsymbol = 6\n", encoding="utf-8")
    check_refusal("--config", str(config), names="symbol in")


def test_a_wrong_value_in_the_file_is_told_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text('symbols = "five"\n', encoding="utf-8")
    check_refusal("--config", str(config), names="symbols in")


def test_a_file_that_is_no_toml_is_told_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("symbols: 5\n", encoding="utf-8")
    check_refusal("--config", str(config), names=str(config))


def test_a_missing_file_of_settings_is_told_in_one_line(tmp_path: Path) -> None:
    check_refusal("--config", str(tmp_path / "nowhere.toml"), names="nowhere.toml")


def test_an_unknown_variable_is_told_in_one_line() -> None:
    check_refusal(names="ARGUS_SYMBOL", variables={"ARGUS_SYMBOL": "5"})


def test_a_wrong_variable_is_told_in_one_line() -> None:
    check_refusal(names="ARGUS_SYMBOLS", variables={"ARGUS_SYMBOLS": "five"})


def test_a_missing_recording_is_told_in_one_line(tmp_path: Path) -> None:
    check_refusal("--source", "recording", "--recording", str(tmp_path / "nowhere.csv"), names="nowhere.csv")


def test_a_source_recording_without_a_file_is_told_in_one_line() -> None:
    check_refusal("--source", "recording", names="recording")


def test_a_recording_of_which_every_row_is_bad_is_told_in_one_line(recording: Path) -> None:
    header = EXAMPLE.splitlines(keepends=True)[0]
    recording.write_text(header + "600000.SH,noon\n000001.SZ,1\n", encoding="utf-8")
    check_refusal("--source", "recording", "--recording", str(recording), names="example.csv")


def test_a_file_that_is_no_recording_is_told_in_one_line(recording: Path) -> None:
    recording.write_bytes(b"\x00\xff\x00 not a recording \n" * 20)
    check_refusal("--source", "recording", "--recording", str(recording), names="example.csv")


def test_a_file_to_record_into_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    check_refusal("--record", str(tmp_path / "nowhere" / "day.csv"), names="day.csv")


def test_a_source_that_is_not_there_is_told_in_one_line() -> None:
    check_refusal("--source", "xtquant", names="xtquant")


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        check_refusal("--symbols", "5", "--port", port, names=port)


def test_a_failed_start_leaves_nothing_behind_and_can_be_tried_again(tmp_path: Path) -> None:
    """With the same options: a file to record into that is there already would be another mistake."""
    kept = ("--data", str(tmp_path / "data"), "--record", str(tmp_path / "day.csv"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for _ in range(2):
            check_refusal("--symbols", "5", "--port", port, *kept, names=port)
    check_refusal("--isolate-source", "--faults", "explosion@3", *kept, names="explosion")
    assert list(tmp_path.iterdir()) == []


def everything_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


async def test_without_a_journal_the_hub_writes_nothing(start_hub: StartHub, tmp_path: Path) -> None:
    data = tmp_path / "data"
    hub = start_hub("--symbols", "5", "--speed", "10", "--data", str(data), "--no-journal")
    async with plain_client(hub.ws_url) as client:
        await client.send("subscribe", topics=["tick:*"], since={"time": 0})
        await client.until(lambda message: isinstance(message, Data))
    assert hub.figure("argus_journal_on") == 0
    hub.stop()
    assert [path for path in everything_in(tmp_path) if path.suffix != ".log"] == []


async def test_two_hubs_with_the_same_data_both_serve_and_the_second_says_that_it_has_no_journal(
    start_hub: StartHub, tmp_path: Path
) -> None:
    same = ("--symbols", "5", "--speed", "10", "--data", str(tmp_path / "data"))
    first, second = start_hub(*same), start_hub(*same)
    for hub in (first, second):
        async with plain_client(hub.ws_url) as client:
            await client.send("subscribe", topics=["tick:*"], since={"time": 0})
            await client.until(lambda message: isinstance(message, Data))
    assert (first.figure("argus_journal_on"), second.figure("argus_journal_on")) == (1, 0)
    assert "in use by another hub" in second.get("/readyz").body
    assert "in use by another hub" in second.log()
    assert "in use" not in first.log()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hub.example"])  # noqa: S104 - it must be refused
def test_an_address_beyond_loopback_needs_a_token(host: str) -> None:
    check_refusal("--host", host, names=host)


def test_a_token_as_an_option_is_refused_and_not_repeated() -> None:
    ended = run_to_its_end("--token=very-secret")
    assert ended.returncode == 2
    assert "--token" in ended.stderr
    assert "very-secret" not in ended.stderr


def test_help_and_version_are_printed_and_end_with_code_0() -> None:
    assert "--max-pending-bytes" in run_to_its_end("--help").stdout
    assert run_to_its_end("--help").returncode == 0
    assert run_to_its_end("--version").returncode == 0


async def test_file_environment_and_options_are_read_in_that_order(start_hub: StartHub, tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text("symbols = 5\nheartbeat_s = 9.0\nmax_topics = 3\n", encoding="utf-8")
    variables = {"ARGUS_HEARTBEAT_S": "8.0", "ARGUS_MAX_TOPICS": "4"}
    hub = start_hub("--config", str(config), "--max-topics", "5", variables=variables)
    async with plain_client(hub.ws_url) as client:
        assert client.welcome["heartbeat_s"] == 8.0
        assert client.welcome["limits"]["topics"] == 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send these signals to a process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_announces_the_end_closes_with_1012_and_exits_with_0(
    start_hub: StartHub, number: signal.Signals
) -> None:
    hub = start_hub("--symbols", "100", "--speed", "10")

    async def end_of(client: PlainClient) -> None:
        draining = await client.control("draining")
        assert isinstance(draining["reason"], str)
        assert draining["close_in_ms"] >= 0
        assert (await client.closed())[0] == 1012

    async with (
        plain_client(hub.ws_url) as busy,
        plain_client(hub.ws_url, "msgpack") as other,
        plain_client(hub.ws_url) as idle,
    ):
        for client in (busy, other):
            await client.send("subscribe", topics=["tick:*"], since={"time": 0})
            await client.until(lambda message: isinstance(message, Data))
        hub.signal(number)
        for client in (busy, other, idle):
            await end_of(client)
    assert hub.wait() == 0


async def test_a_client_that_does_not_answer_the_close_does_not_hold_up_the_end(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "5", "--drain-s", "1")
    with socket.create_connection(("127.0.0.1", hub.port)) as deaf:
        handshake = (
            "GET /ws HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        deaf.sendall(handshake.encode())
        assert deaf.recv(12) == b"HTTP/1.1 101"
        hub.signal()
        assert hub.wait() == 0


async def everything(url: str, rows: int) -> list[Row]:
    async with plain_client(url) as client:
        await client.send("subscribe", topics=["tick:*"], since={"time": 0})
        return [row for message in await client.data(rows) for row in message.rows]


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz", "day.parquet"])
async def test_what_a_hub_records_another_hub_plays(
    start_hub: StartHub, recording: Path, tmp_path: Path, name: str
) -> None:
    recorded = tmp_path / name
    play = ("--source", "recording", "--speed", "0", "--recording")
    first = start_hub(*play, str(recording), "--record", str(recorded))
    rows = await everything(first.ws_url, ROWS)
    assert [row[:3] for row in rows] == [
        ("600000.SH", 1, 1654047000000),
        ("000001.SZ", 1, 1654047000000),
        ("600000.SH", 2, 1654047003000),
    ]
    first.stop()
    second = start_hub(*play, str(recorded))
    again = await everything(second.ws_url, ROWS)
    assert [(*row[:3], *row[4:]) for row in again] == [(*row[:3], *row[4:]) for row in rows]


async def test_what_the_simulator_invented_can_be_recorded_and_played(start_hub: StartHub, tmp_path: Path) -> None:
    recorded = tmp_path / "simulated.csv.gz"
    first = start_hub("--symbols", "20", "--speed", "20", "--record", str(recorded))
    async with plain_client(first.ws_url) as client:
        await client.send("subscribe", topics=["tick:*"], since={"time": 0})
        rows: list[Row] = []
        while len(rows) < 200:
            message = await client.receive()
            rows += message.rows if isinstance(message, Data) else []
    first.stop()
    second = start_hub("--source", "recording", "--recording", str(recorded), "--speed", "0")
    async with plain_client(second.ws_url) as client:
        await client.send("subscribe", topics=["tick:*"], since={"time": 0})
        again: list[Row] = []
        while len(again) < len(rows):
            message = await client.receive()
            again += message.rows if isinstance(message, Data) else []
    values = [(*row[:3], *row[4:12], row[13], *row[15:]) for row in rows]
    assert [(*row[:3], *row[4:12], row[13], *row[15:]) for row in again[: len(rows)]] == values


async def test_each_start_is_a_new_run_with_a_new_epoch(start_hub: StartHub, recording: Path) -> None:
    options = ("--source", "recording", "--speed", "0", "--recording", str(recording))
    epochs = set()
    for _ in range(2):
        async with plain_client(start_hub(*options).ws_url) as client:
            epochs.add(client.welcome["epoch"])
    assert len(epochs) == 2
    assert all(len(epoch) == 16 and set(epoch) <= set("0123456789abcdef") for epoch in epochs)


@pytest.fixture
def recording_with_a_bad_row(recording: Path) -> Path:
    lines = EXAMPLE.splitlines(keepends=True)
    recording.write_text("".join((*lines[:2], "600000.SH,noon\n", *lines[2:])), encoding="utf-8")
    return recording


async def test_a_bad_row_is_skipped_and_logged_with_its_file_and_line(
    start_hub: StartHub, recording_with_a_bad_row: Path
) -> None:
    hub = start_hub("--source", "recording", "--speed", "0", "--recording", str(recording_with_a_bad_row))
    rows = await everything(hub.ws_url, ROWS)
    assert [row[1] for row in rows if row[0] == "600000.SH"] == [1, 2]
    assert "example.csv" in hub.log()
    assert "line 3" in hub.log() or "example.csv:3" in hub.log()
