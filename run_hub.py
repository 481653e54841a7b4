"""Runs the hub: reads the settings, and serves until a signal comes. What runs is put together in `bridge.app`."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import time_ns

from bridge.app import App
from bridge.listening import StartError, check_port
from bridge.recorder import Recorder
from bridge.recording import RecordingSource
from bridge.rowfile import RecordingError
from bridge.simulator import Fault, SimulatorSource
from bridge.source import Source
from hub.calendar import Calendar
from hub.config import Settings, SettingsError, load
from hub.history import History
from hub.journal import JournalSettings
from hub.logs import configure_logging
from hub.metrics import Metrics
from hub.opening import Opened, with_journal, without_journal

EXIT_USAGE = 2
FED = "feed"
"""What the journal of a fed hub has as its source, whoever feeds it."""

_logger = logging.getLogger("argus")


def main() -> int:
    """Run until a signal comes. Returns the exit code."""
    try:
        settings = load(sys.argv[1:], os.environ)
        configure_logging(settings.log_format, settings.log_level)
        source = make_source(settings) if settings.source != "feed" else None
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(serve(settings, source))
    except (SettingsError, RecordingError, StartError) as error:
        print(f"run_hub.py: {error}", file=sys.stderr)  # noqa: T201 - the user's answer
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 0
    return 0


def make_source(settings: Settings) -> Source:
    """Build the source that the settings name. Raises StartError or RecordingError."""
    if settings.source == "recording" and settings.recording is not None:
        return RecordingSource(settings.recording, speed=settings.speed)
    if settings.source == "xtquant":
        raise StartError("source xtquant is not available in this version; use sim or recording")
    try:
        return SimulatorSource(
            symbols=settings.symbols,
            interval_s=settings.interval,
            seed=settings.seed,
            speed=settings.speed,
            start=settings.sim_start,
            faults=[Fault.parse(text) for text in settings.faults],
        )
    except ValueError as error:
        raise StartError(f"the simulator can't run so: {error}") from None


async def serve(settings: Settings, source: Source | None) -> None:
    """Run a hub, and another one for each feeder that begins another history. ``source``: None for a hub that is fed.

    Raises:
        StartError: something outside is in the way.
    """
    stopped = asyncio.Event()
    _on_signals(stopped.set)
    await check_port(settings)
    recorder = Recorder(settings.record) if settings.record is not None else None
    # A simulated or recorded day begins anew with every start, and with it a history.
    run = None if source is None else secrets.token_hex(8)
    try:
        while True:
            metrics = Metrics(version("argus-hub"))
            opened = open_history(settings, source, run, metrics.journal_append.observe)
            app = App(settings, source, opened, metrics, recorder)
            port = await app.run(stopped)
            if app.renewal is None:
                return
            settings, run = settings.model_copy(update={"port": port}), app.renewal.run
    finally:
        if recorder is not None:
            await asyncio.to_thread(recorder.close)


def open_history(
    settings: Settings, source: Source | None, run: str | None, on_append: Callable[[float], None]
) -> Opened:
    """Go on with the history that the journal holds, or begin one. Arguments as `hub.opening.with_journal` has them."""
    history = History(ring_rows=settings.ring_rows, ring_bytes=settings.ring_bytes)
    folder = settings.data / "journal"
    if not settings.journal:
        return without_journal(history, folder)
    days, now_ms = (None, time_ns() // 1_000_000) if source is None else (source.trading_days, source.now_ms())
    return with_journal(
        history,
        folder,
        JournalSettings(settings.journal_fsync_s, settings.journal_days, settings.journal_bytes),
        source=FED if source is None else source.name,
        run=run,
        day=Calendar(days).trading_day(now_ms),
        on_append=on_append,
    )


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        for number in (signal.SIGINT, signal.SIGBREAK):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop or winloop where installed; None for the standard loop."""
    with contextlib.suppress(ImportError):
        if sys.platform == "win32":
            import winloop

            return winloop.new_event_loop
        import uvloop

        return uvloop.new_event_loop
    return None


if __name__ == "__main__":
    sys.exit(main())
