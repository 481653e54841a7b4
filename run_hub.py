"""Runs a hub or a feeder: reads the settings, and works until a signal comes. `bridge.app` puts a hub together."""

import asyncio
import gc
import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from time import time_ns

from bridge.app import PROGRAM, App
from bridge.doctor import examine
from bridge.edge import run_edge
from bridge.feed.feeder import FeedEnded
from bridge.feed.feeding import Feeding, FeedingSettings
from bridge.feed.isolation import ChildRefused, supervise
from bridge.feed.stdin import when_stdin_ends
from bridge.feedrole import run_feed
from bridge.listening import StartError, check_port
from bridge.recorder import Recorder
from bridge.redis.setting import relay_of
from bridge.rowfile import RecordingError
from bridge.source import ProcessMustEnd, Source
from bridge.sources import make_source
from bridge.stopping import Until, until_signal
from hub.calendar import Calendar
from hub.config import Settings, SettingsError, load, without_effect
from hub.handles import room_for
from hub.history import History
from hub.journal import JournalSettings
from hub.logs import configure_logging
from hub.metrics import Metrics
from hub.opening import Opened, with_journal, without_journal

EXIT_ENDED = 1
EXIT_USAGE = 2
EXIT_AGAIN = 3
"""Whoever started the feeder is to start it again."""
FEEDER_COLLECT_AFTER = 200_000
"""New objects after which a feeder's collector looks for circles: a market of 8,000 instruments in one callback makes
80,000, none of them in a circle, and looking at them in between takes as long as making them."""
FED = "feed"
"""What the journal of a fed hub has as its source, whoever feeds it."""

_logger = logging.getLogger("argus")


def main(argv: Sequence[str] | None = None, until: Until = until_signal) -> int:
    """Run until a signal comes, or whatever else ``until`` waits for. Returns the exit code.

    ``argv``: options, without the program's name; None for those of this process.
    """
    options = list(sys.argv[1:] if argv is None else argv)
    if options[:1] == ["doctor"]:
        options[0] = "--doctor"
    if "--doctor" in options:
        return examine(options, os.environ)
    try:
        settings = load(options, os.environ)
        _log_as_set(settings)
        for line in without_effect(options, settings.role):
            _logger.warning("%s", line)
        source = own_source(settings)
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(work(settings, source, until))
    except FeedEnded as ended:
        print(f"run_hub.py: {ended}", file=sys.stderr)  # noqa: T201 - the user's answer
        return EXIT_ENDED
    except ProcessMustEnd as error:
        print(f"run_hub.py: the source can't go on in this process: {error}", file=sys.stderr)  # noqa: T201
        logging.shutdown()
        os._exit(EXIT_AGAIN)  # not in order: a call into the vendor's library may hang for ever
    except (SettingsError, RecordingError, StartError) as error:
        print(f"run_hub.py: {error}", file=sys.stderr)  # noqa: T201 - the user's answer
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 0
    return 0


def _log_as_set(settings: Settings) -> None:
    try:
        configure_logging(settings.log_format, settings.log_level, settings.log_file)
    except OSError as error:
        raise StartError(f"log_file {settings.log_file} cannot be written: {error.strerror or error}") from None


def own_source(settings: Settings) -> Source | None:
    """Make the source that runs in this process; None for a hub that is fed. Raises as `make_source` does.

    One that a child process will run is made too: what is wrong with it must be told before anything is begun.
    """
    if settings.source == "feed" or settings.role == "edge":
        return None
    source = make_source(settings)
    return None if settings.is_isolated else source


async def work(settings: Settings, source: Source | None, until: Until) -> None:
    """Do what the settings say until it ends or ``until`` has it stop. Arguments and errors as below."""
    stopped = asyncio.Event()
    with until(stopped.set):
        if settings.role == "edge":
            await serve_edge(settings, stopped)
        elif settings.role != "feeder":
            await serve(settings, source, stopped)
        elif source is None:
            await supervised(settings, stopped)
        else:
            await feed(settings, source, stopped)


async def serve(settings: Settings, source: Source | None, stopped: asyncio.Event) -> None:
    """Run a hub, and another one for each feeder that begins another history. ``source``: None for a hub that is fed.

    Raises:
        StartError: something outside is in the way.
        RecordingError: the file to record into can't be made.
    """
    await check_port(settings)
    recorder = Recorder(settings.record) if settings.record is not None else None
    settings = within_file_limit(settings)
    _logger.info("the event loop is %s's", type(asyncio.get_running_loop()).__module__.partition(".")[0])
    # A simulated or recorded day begins anew with every start, and with it a history.
    run = None if source is None else secrets.token_hex(8)
    try:
        if settings.role == "feed":
            await serve_feed(settings, source, recorder, stopped)
            return
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


async def serve_feed(
    settings: Settings, source: Source | None, recorder: Recorder | None, stopped: asyncio.Event
) -> None:
    """Run a feed until ``stopped``. Raises StartError as `serve` does."""
    relay = relay_of(settings)
    try:
        await run_feed(settings, source, FED if source is None else source.name, relay, recorder, open_history, stopped)
    finally:
        await relay.close()


async def serve_edge(settings: Settings, stopped: asyncio.Event) -> None:
    """Run an edge until ``stopped``. Raises StartError as `serve` does."""
    await check_port(settings)
    relay = relay_of(settings)
    try:
        await run_edge(within_file_limit(settings), relay, stopped)
    finally:
        await relay.close()


def within_file_limit(settings: Settings) -> Settings:
    """Have the system let the hub open a file for each client; where it refuses, let in no more than it allows."""
    clients = room_for(settings.max_clients)
    if clients < settings.max_clients:
        was_asked_for = "max_clients" in settings.model_fields_set
        _logger.log(
            logging.WARNING if was_asked_for else logging.INFO,
            "max_clients is %d, but the system's limit of open files has room for %d clients, and no more are let in: "
            "raise the limit (ulimit -n, or LimitNOFILE of a systemd service) or lower max_clients",
            settings.max_clients,
            clients,
        )
    return settings.model_copy(update={"max_clients": clients})


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


async def feed(settings: Settings, source: Source, stopped: asyncio.Event) -> None:
    """Run a source for a hub elsewhere until ``stopped``. Raises FeedEnded when the hub wants no more of it."""
    if settings.end_with_stdin:
        when_stdin_ends(stopped.set)
    recorder = None if settings.record is None else Recorder(settings.record)
    feeding = Feeding(
        source,
        FeedingSettings(
            url=settings.to,
            token=settings.access_token,
            buffer_bytes=settings.feed_buffer_bytes,
            finish_s=settings.drain_s,
            speed=settings.speed if settings.source in ("sim", "recording") else None,
        ),
        (lambda day, start: make_source(settings, (day, start))) if source.simulated and source.continues else None,
        [] if recorder is None else [recorder],
    )
    try:
        print(f"Argus feeder sends to {settings.to}", flush=True)  # noqa: T201
        gc.freeze()  # what the start built stays: the collector need not look at it again
        gc.set_threshold(FEEDER_COLLECT_AFTER, *gc.get_threshold()[1:])
        await feeding.run(stopped)
    finally:
        if recorder is not None:
            await asyncio.to_thread(recorder.close)


async def supervised(settings: Settings, stopped: asyncio.Event) -> None:
    """Keep a feeder for a hub elsewhere running in a process of its own until ``stopped``. Raises StartError."""
    print(f"Argus feeder sends to {settings.to}", flush=True)  # noqa: T201
    try:
        await supervise(settings, PROGRAM, stopped)
    except (ChildRefused, OSError) as error:
        raise StartError(str(error)) from None


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop or winloop where installed; None for the standard loop, which the log says."""
    name = "winloop" if sys.platform == "win32" else "uvloop"
    try:
        if sys.platform == "win32":
            import winloop as fast
        else:
            import uvloop as fast
    except ImportError as error:
        _logger.warning(
            "%s can't be had (%s): the standard event loop is used, which serves fewer clients", name, error
        )
        return None
    new_loop: Callable[[], asyncio.AbstractEventLoop] = fast.new_event_loop
    return new_loop


if __name__ == "__main__":
    sys.exit(main())
