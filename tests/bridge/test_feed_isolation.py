"""The source in a child process: how it is started, started again, and ended with its hub."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import bridge.feed.isolation
from bridge.feed.isolation import SOURCE_SETTINGS, ChildFeeder, ChildRefused, child_command, child_environment
from hub.config import load
from hub.settings import Settings
from tests.hub.support.served_hub import until

PROGRAM = Path("run_hub.py")
AT_ONCE: Any = lambda _: 0.0  # noqa: E731


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def child(script: str, **options: Any) -> ChildFeeder:
    return ChildFeeder(python(script), dict(os.environ), **options)


async def ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait({task})


def test_the_child_is_a_feeder_with_the_source_s_settings_of_the_hub() -> None:
    """The command is read back as the program reads it: nothing of the source's settings gets lost or changed."""
    settings = Settings(
        symbols=12,
        interval=0.5,
        seed=2**60,
        speed=0,
        sim_start="13:00",  # type: ignore[arg-type]
        faults=("silence@30+15", "crash@9"),
        feed_buffer_bytes=5_000_000,
        log_format="json",
        log_level="debug",
        host="0.0.0.0",  # noqa: S104
        token="of-the-hub",  # type: ignore[arg-type]  # noqa: S106
        isolate_source=True,
    )
    command = child_command(settings, PROGRAM, ("0.0.0.0", 4711))  # noqa: S104
    assert command[:2] == [sys.executable, "run_hub.py"]
    assert "of-the-hub" not in " ".join(command)
    read = load(command[2:], child_environment({"ARGUS_PORT": "1", "PATH": "/bin"}, "for-the-child"))
    assert (read.role, read.to, read.end_with_stdin) == ("feeder", "ws://127.0.0.1:4711/feed", True)
    assert read.access_token == "for-the-child"  # noqa: S105
    for name in SOURCE_SETTINGS:
        assert getattr(read, name) == getattr(settings, name), name


def test_a_recording_is_the_child_s_to_play() -> None:
    settings = Settings(source="recording", recording=Path("some day.csv"), speed=20, isolate_source=True)
    read = load(child_command(settings, PROGRAM, ("127.0.0.1", 1))[2:], {})
    assert (read.source, read.recording, read.speed) == ("recording", Path("some day.csv"), 20)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "ws://127.0.0.1:1/feed"), ("::", "ws://[::1]:1/feed"), ("192.0.2.7", "ws://192.0.2.7:1/feed")],
)
def test_the_child_connects_to_where_the_hub_listens(host: str, url: str) -> None:
    assert load(child_command(Settings(), PROGRAM, (host, 1))[2:], {}).to == url


def test_the_child_has_none_of_the_hub_s_own_variables() -> None:
    environ = {"ARGUS_TOKEN": "of-the-hub", "argus_record": "day.csv", "PATH": "/bin"}
    assert child_environment(environ, "for-the-child") == {"PATH": "/bin", "ARGUS_TOKEN": "for-the-child"}


async def test_a_child_that_dies_is_started_again_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    pauses: list[int] = []

    def pause_s(deaths: int) -> float:
        pauses.append(deaths)
        return 0.0 if len(pauses) < 3 else 3600.0

    task = asyncio.create_task(child("raise SystemExit(7)", pause_s=pause_s).run())
    await until(lambda: len(pauses) == 3)
    await ended(task)
    assert pauses == [0, 1, 2]
    assert caplog.text.count("has ended with code 7") == 3


async def test_after_a_child_has_run_well_the_pauses_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.feed.isolation, "RAN_WELL_S", 0.0)
    pauses: list[int] = []

    def pause_s(deaths: int) -> float:
        pauses.append(deaths)
        return 0.0 if len(pauses) < 3 else 3600.0

    task = asyncio.create_task(child("pass", pause_s=pause_s).run())
    await until(lambda: len(pauses) == 3)
    await ended(task)
    assert pauses == [0, 0, 0]


def test_the_pauses_grow_to_half_a_minute() -> None:
    pause_s = ChildFeeder([], {})._pause_s
    assert [pause_s(deaths) for deaths in (0, 1, 2, 5, 500)] == [1, 2, 4, 30, 30]


async def test_a_source_that_would_begin_anew_is_left_ended(caplog: pytest.LogCaptureFixture) -> None:
    feeder = child("raise SystemExit(7)", starts_again=False)
    await feeder.run()
    assert feeder.starts == 1
    assert "left ended" in caplog.text


async def test_wrong_settings_are_found_at_the_first_start() -> None:
    with pytest.raises(ChildRefused):
        await child("raise SystemExit(2)").run()


async def test_a_child_that_finds_its_settings_wrong_later_is_tried_again(tmp_path: Path) -> None:
    """The file of a recording may be away for a moment; the hub goes on with what it has."""
    mark = tmp_path / "started"
    script = f"import pathlib, sys; p = pathlib.Path({str(mark)!r}); n = p.exists(); p.touch(); sys.exit(2 if n else 1)"
    feeder = child(script, pause_s=AT_ONCE)
    task = asyncio.create_task(feeder.run())
    await until(lambda: feeder.starts > 2)
    await ended(task)


async def test_at_the_end_the_child_s_standard_input_ends_and_it_may_end_in_order(tmp_path: Path) -> None:
    began, over = tmp_path / "began", tmp_path / "over"
    script = (
        "import os, pathlib, sys\n"
        f"pathlib.Path({str(began)!r}).touch()\n"
        "while os.read(0, 100): pass\n"
        f"pathlib.Path({str(over)!r}).touch()\n"
    )
    task = asyncio.create_task(child(script).run())
    await until(began.exists)
    assert not over.exists()
    await ended(task)
    assert over.exists()


def test_the_child_logs_into_a_file_beside_that_of_the_hub() -> None:
    """Neither could set aside what the other has open, on Windows."""
    settings = Settings(log_file=Path("logs/hub.log"))
    assert load(child_command(settings, PROGRAM, ("127.0.0.1", 1))[2:], {}).log_file == Path("logs/hub.source.log")
    assert load(child_command(Settings(), PROGRAM, ("127.0.0.1", 1))[2:], {}).log_file is None


async def test_a_child_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge.feed.isolation, "END_S", 0.1)
    pid_file = tmp_path / "pid"
    script = (
        "import os, pathlib, time\n"
        f"path = pathlib.Path({str(pid_file)!r})\n"
        "path.with_suffix('.new').write_text(str(os.getpid()))\n"
        "path.with_suffix('.new').rename(path)\n"
        "time.sleep(600)\n"
    )
    feeder = child(script)
    task = asyncio.create_task(feeder.run())
    await until(lambda: pid_file.exists() and feeder.pid)
    await ended(task)
    if sys.platform != "win32":  # where 0 is Ctrl-C
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid_file.read_text()), 0)
    assert feeder.pid is None
    assert "is killed" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't kill a process group so")
async def test_an_interrupt_from_the_terminal_is_the_hub_s_affair(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"import os, pathlib; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpgid(0))); os.read(0, 1)"
    task = asyncio.create_task(child(script).run())
    await until(lambda: pid_file.exists() and pid_file.read_text())
    assert int(pid_file.read_text()) != os.getpgid(0)
    await ended(task)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_a_child_ends_by_itself_when_its_hub_is_killed(tmp_path: Path) -> None:
    over = tmp_path / "over"
    pipe_out, pipe_in = os.pipe()
    child_script = (
        "import os, pathlib\n"
        f"os.write({pipe_in}, b'began')\n"
        "while os.read(0, 100): pass\n"
        f"pathlib.Path({str(over)!r}).touch()\n"
    )
    hub_script = (
        "import asyncio, os, sys\n"
        "from bridge.feed import isolation\n"
        f"isolation._apart = lambda: {{'pass_fds': ({pipe_in},), 'start_new_session': True}}\n"
        f"command = [sys.executable, '-c', {child_script!r}]\n"
        "asyncio.run(isolation.ChildFeeder(command, dict(os.environ)).run())\n"
    )
    hub = await asyncio.create_subprocess_exec(*python(hub_script), pass_fds=(pipe_in,))
    try:
        os.close(pipe_in)
        assert await asyncio.to_thread(os.read, pipe_out, 5) == b"began"
        assert not over.exists()
        hub.send_signal(signal.SIGKILL)
        await hub.wait()
        await until(over.exists)
    finally:
        os.close(pipe_out)
        if hub.returncode is None:
            hub.kill()
            await hub.wait()


async def test_deaths_are_told_aloud(caplog: pytest.LogCaptureFixture) -> None:
    await child("raise SystemExit(3)", starts_again=False).run()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
