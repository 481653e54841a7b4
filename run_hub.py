"""Runs the hub: reads the settings, builds the parts, connects them, and ends them in order.

This is the only place where the hub and the outside (`bridge`) meet.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from time import time_ns

from bridge.intake import Intake
from bridge.recorder import Recorder
from bridge.recording import RecordingSource
from bridge.rowfile import RecordingError
from bridge.simulator import Fault, SimulatorSource
from bridge.source import Batch, Observer, Source, SourceState, SourceStatus
from hub.auth import Token
from hub.calendar import Calendar
from hub.config import Settings, SettingsError, load
from hub.core import Hub, SourceInfo
from hub.delivery import Delivery
from hub.health import Health
from hub.history import History
from hub.journal import JournalSettings
from hub.limits import Limits
from hub.logs import configure_logging
from hub.metrics import Metrics
from hub.opening import Opened, with_journal, without_journal
from hub.pages import Pages
from hub.server import HubServer, ServerSettings
from hub.watch import Watch

EXIT_USAGE = 2
LOOK_S = 1.0
LAG_PROBE_S = 0.25
FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0

_logger = logging.getLogger("argus")


class StartError(Exception):
    """Something outside prevents the start; the text tells what, and what to do."""


def main() -> int:
    """Run until a signal comes. Returns the exit code."""
    try:
        settings = load(sys.argv[1:], os.environ)
        configure_logging(settings.log_format, settings.log_level)
        source = make_source(settings)
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(App(settings, source).run())
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


class Publisher:
    """The observer through which batches get into the hub."""

    def __init__(self, hub: Hub, watch: Watch, metrics: Metrics) -> None:
        self._hub = hub
        self._watch = watch
        self._metrics = metrics

    def observe(self, batch: Batch) -> None:
        """Publish one batch."""
        if batch.channel == "tick":
            self._watch.note(batch.rows)
        self._metrics.batch_rows.observe(len(batch.rows))
        self._hub.publish(batch.channel, batch.rows, batch.recv_us)


class App:
    """All parts of one hub process, and their lifetime."""

    def __init__(self, settings: Settings, source: Source, recorder: Recorder | None = None) -> None:
        self._settings = settings
        self._source = source
        self._recorder = recorder
        self._metrics = Metrics(version("argus-hub"))
        self._calendar = calendar = Calendar(source.trading_days)
        self._opened = self._open_history()
        self._hub = Hub(
            epoch=self._opened.epoch,
            source=SourceInfo(source.name, source.simulated),
            channels=source.channels,
            history=self._opened.history,
            universes=settings.universes,
            on_wants=source.want,
            on_refused=_log_refused,
            store=self._opened.store,
        )
        health = Health(calendar, settings.stale_after_s)
        self._watch = Watch(self._hub, health, calendar, source.now_ms, settings.stale_after_s)
        self._observers: list[Observer] = [Publisher(self._hub, self._watch, self._metrics)]
        if recorder is not None:
            self._observers.append(recorder)
        self._intake = Intake(self._observers, self._on_status)

    def _open_history(self) -> Opened:
        settings, source = self._settings, self._source
        history = History(ring_rows=settings.ring_rows, ring_bytes=settings.ring_bytes)
        if not settings.journal:
            return without_journal(history, settings.data)
        return with_journal(
            history,
            settings.data,
            JournalSettings(settings.journal_fsync_s, settings.journal_days, settings.journal_bytes),
            source=source.name,
            run=secrets.token_hex(8),  # a simulated or recorded day begins anew with every start
            day=self._calendar.trading_day(source.now_ms()),
            on_append=self._metrics.journal_append.observe,
        )

    async def run(self) -> None:
        """Serve until a signal comes, then drain. Raises StartError or RecordingError when something is in the way."""
        settings, metrics = self._settings, self._metrics
        stopped = asyncio.Event()
        _on_signals(stopped.set)
        delivery = Delivery(self._hub, asyncio.get_running_loop(), metrics.publish_to_socket.observe)
        pages = Pages(self._hub.channels, self._reasons_not_ready, lambda: self._opened.reasons_degraded, metrics.page)
        self._server = HubServer(self._hub, delivery, _server_settings(settings), pages.get, self._watch.heartbeat)
        metrics.observe(self._hub, self._server, self._watch, self._opened, lambda: self._intake.refused)
        try:
            try:
                addresses = await self._server.start(settings.host, settings.port)
            except OSError as error:
                reason = error.strerror or str(error)
                raise StartError(f"cannot listen on {settings.host} port {settings.port}: {reason}") from None
            try:
                self._open_recorder()
                await self._serve(addresses[0], stopped)
            finally:
                await self._server.drain("the hub is restarting", settings.drain_s)
                if self._recorder is not None:
                    await asyncio.to_thread(self._recorder.close)
        finally:
            self._opened.close()

    def _open_recorder(self) -> None:
        """Begin the recording; not before the port is ours, so that a failed start leaves no file behind."""
        if self._recorder is None and self._settings.record is not None:
            self._recorder = Recorder(self._settings.record)
            self._observers.append(self._recorder)

    async def _serve(self, address: tuple[str, int], stopped: asyncio.Event) -> None:
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        print(f"Argus Hub is listening on http://{shown}:{port}/ (ws://{shown}:{port}/ws)", flush=True)  # noqa: T201
        gc.freeze()  # what the start built stays: the collector need not look at it again
        tasks = [asyncio.create_task(work) for work in (self._run_source(), self._look(), self._probe_lag())]
        await stopped.wait()
        _logger.info("stopping: %d clients to drain", self._server.clients)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_status(self, status: SourceStatus) -> None:
        self._watch.report_source(status.state.value, status.reason, time_ns() // 1000)

    def _reasons_not_ready(self) -> list[str]:
        if self._server.draining:
            return ["the hub is draining: it is about to restart"]
        return self._watch.reasons_not_ready()

    async def _run_source(self) -> None:
        """Run the source; when it fails, try again with growing pauses, and say so."""
        retry_s = FIRST_RETRY_S
        while True:
            batches = self._intake.batches
            try:
                await self._source.run(self._intake)
            except Exception as error:  # whatever a vendor's code raises must not end the hub
                if self._intake.batches > batches:  # it ran well meanwhile: this is a new mishap
                    retry_s = FIRST_RETRY_S
                if not self._source.continues:
                    _logger.exception("the source failed")
                    reason = f"it failed ({type(error).__name__}: {error}) and can't go on"
                    self._intake.report(SourceStatus(SourceState.AWAY, reason))
                    return
                _logger.exception("the source failed; it is started again in %.0f s", retry_s)
                reason = f"it failed ({type(error).__name__}: {error}) and is started again"
                self._intake.report(SourceStatus(SourceState.AWAY, reason))
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, LAST_RETRY_S)
            else:
                return

    async def _look(self) -> None:
        while True:
            try:
                self._watch.look(time_ns() // 1000)
                self._opened.store.roll(self._calendar.trading_day(self._source.now_ms()))
            except Exception:  # a vendor's clock may raise: a watch that has ended would repeat its last word for ever
                _logger.exception("the markets could not be looked at")
            await asyncio.sleep(LOOK_S)

    async def _probe_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_PROBE_S
            await asyncio.sleep(LAG_PROBE_S)
            self._metrics.loop_lag.observe(max(0.0, loop.time() - due_s))


def _server_settings(settings: Settings) -> ServerSettings:
    return ServerSettings(
        name=f"argus-hub/{version('argus-hub')}",
        limits=Limits(
            message_bytes=settings.max_message_bytes,
            topics=settings.max_topics,
            requests_per_s=settings.max_requests_per_s,
            pending_bytes=settings.max_pending_bytes,
        ),
        token=Token(settings.access_token) if settings.access_token else None,
        allowed_origins=frozenset(settings.allowed_origins),
        max_clients=settings.max_clients,
        heartbeat_s=settings.heartbeat_s,
        stall_s=settings.stall_s,
        auth_timeout_s=settings.auth_timeout_s,
        ping_interval_s=settings.ping_interval_s,
        ping_timeout_s=settings.ping_timeout_s,
        compression=settings.compression,
    )


def _log_refused(reason: str) -> None:
    _logger.error("row refused: %s", reason)


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
