"""One hub process from its start to its end: the parts are built, connected, watched, and ended in order.

This is the only place where the hub and the outside (`bridge`) meet.
"""

import asyncio
import gc
import logging
import os
import secrets
from collections.abc import Coroutine, Mapping, Set
from pathlib import Path
from time import time_ns
from typing import Any

from bridge.delivered import DeliveredRows
from bridge.ending import end
from bridge.feed.acceptance import Acceptance
from bridge.feed.endpoint import PATH, FeedEndpoint
from bridge.feed.isolation import ChildFeeder, ChildRefused, child_command, child_environment, source_variables
from bridge.feed.messages import Hello
from bridge.feed.right import FeedRight
from bridge.feed.source import FeedSource
from bridge.intake import Intake
from bridge.listening import StartError, server_settings
from bridge.publishing import HubPublisher, MarketObserver, wanted_of
from bridge.recorder import Recorder
from bridge.running import keep_running
from bridge.source import Figures, Observer, ReferenceData, Refusals, Source, SourceStatus, Told
from hub.calendar import Calendar
from hub.core import Hub, Refusal, SourceInfo
from hub.delivery import Delivery
from hub.endpoint import Endpoint
from hub.health import Health
from hub.metrics import Figure, Metrics
from hub.opening import Opened
from hub.pages import Pages
from hub.reference import Reference
from hub.schema import STATUS
from hub.server import HubServer
from hub.settings import Settings
from hub.store import Store
from hub.watch import Watch

LOOK_S = 1.0
LAG_PROBE_S = 1.0
WANT_EVERY_S = 0.1
"""Clients that come one after the other each change what is wanted: the source is told all of it, at most so often."""
COLLECT_AFTER = 20_000
"""Objects that may be made before the collector looks for circles among the new ones. By Python's default (700) it
would look several times within every burst; rows are no such objects, so what waits for it stays small."""
PROGRAM = Path(__file__).parents[1] / "run_hub.py"

_logger = logging.getLogger("argus")


class App:
    """All parts of one hub, and their lifetime.

    `bridge.feedapp` and `bridge.edgeapp` have what is different where several processes share it.

    Args:
        source: where rows come from; None for a hub that is fed.
        opened: the history to go on with; closed at the end.
        recorder: is given every batch.
    """

    numbers = True
    """Whether rows get their numbers here."""

    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        opened: Opened,
        metrics: Metrics,
        recorder: Recorder | None = None,
    ) -> None:
        self._settings = settings
        self._opened = opened
        self._metrics = metrics
        self._ended = asyncio.Event()
        self._wanting: asyncio.TimerHandle | None = None  # until the source is told what is wanted
        self._want_again_s = 0.0  # before that, the source is not told again what is wanted
        self._child_token = secrets.token_hex(32) if settings.is_isolated else ""
        self._child: ChildFeeder | None = None
        self._figures: Mapping[str, int] = {}
        self._refusals: Mapping[str, Refusal] = {}  # as the source told them
        # What the source is told that is wanted, and for which topic strings of clients.
        self._named: dict[str, set[str]] = {}
        # Without a journal of its own the hub remembers nothing: the folder may be another hub's.
        folder = settings.data if source is None and opened.journal is not None else None
        self._acceptance = Acceptance(folder, opened.epoch, opened.run)
        self._source = source if source is not None else self._make_feed()
        self._calendar = Calendar(self._source.trading_days)
        self._reference = Reference(settings.universes, folder)
        self._reference.restore(self._source.name)
        self._hub = Hub(
            epoch=opened.epoch,
            source=SourceInfo(self._source.name, self._source.simulated),
            channels=self._source.channels,
            history=opened.history,
            universes=self._reference.universes,
            on_wants=self._want_soon,
            on_refused=_log_refused,
            day_start_ms=lambda: self._calendar.day_start_ms(self._source.now_ms()),
            store=self._store_of(opened),
            reference=self._reference,
        )
        health = Health(self._calendar, settings.stale_after_s)
        self._watch = Watch(
            self._hub,
            health,
            self._calendar,
            self._source.now_ms,
            settings.stale_after_s,
            lambda: self._source.markets,
            tells=self.numbers,
        )
        past = DeliveredRows(opened.history, opened.run)
        metrics.observe_figures(
            Figure(
                "argus_rows_unproven",
                "Old rows delivered though there was no time to find out whether they came before.",
                True,
                lambda: past.unproven,
            )
        )
        observers: list[Observer] = [MarketObserver(self._watch, metrics.batch_rows.observe)]
        if recorder is not None:
            observers.append(recorder)
        self._intake = Intake(
            HubPublisher(self._hub),
            observers,
            self._on_status,
            past=past,
            was_mute=self._watch.was_mute,
            away=opened.goes_on and source is not None,  # a feeder brings what came meanwhile, or says that it can't
            now_ms=self._source.now_ms,
            on_told=self._on_told,
        )

    def _store_of(self, opened: Opened) -> Store:
        """Where turns are written."""
        return opened.store

    def _closed(self) -> str:
        """Why clients are not let in, empty where they are."""
        return ""

    @property
    def renewal(self) -> Hello | None:
        """The feeder that needs another history than this one: why the hub has ended; None where it was stopped."""
        return self._acceptance.renewal

    async def run(self, stopped: asyncio.Event) -> int:
        """Serve until ``stopped`` is set, or a feeder needs another history; then drain.

        Returns:
            The port that it listened on.

        Raises:
            StartError: something is in the way.
        """
        settings, metrics = self._settings, self._metrics
        observe, interval_s = metrics.publish_to_socket.observe, settings.flush_interval_ms / 1000
        delivery = Delivery(self._hub, asyncio.get_running_loop(), observe, interval_s)
        pages = Pages(
            self._hub.channels, self._reasons_not_ready, self._reasons_degraded, metrics.page, self._reference.page
        )
        self._server = HubServer(
            self._hub,
            delivery,
            server_settings(settings),
            pages.get,
            self._watch.heartbeat,
            self._endpoints(delivery),
            self._closed,
        )
        refused = lambda: self._intake.refused  # noqa: E731
        metrics.observe(self._hub, self._server, self._watch, self._opened, refused, self._events)
        try:
            try:
                addresses = await self._server.start(settings.host, settings.port)
            except OSError as error:
                reason = error.strerror or str(error)
                raise StartError(f"cannot listen on {settings.host} port {settings.port}: {reason}") from None
            try:
                await self._serve(addresses[0], stopped)
            finally:
                await self._server.drain("the hub is restarting", settings.drain_s)
        finally:
            try:
                delivery.end()
            finally:
                self._opened.close()
        return addresses[0][1]

    async def _serve(self, address: tuple[str, int], stopped: asyncio.Event) -> None:
        host, port = address
        shown = f"[{host}]" if ":" in host else host
        print(f"Argus Hub is listening on http://{shown}:{port}/ (ws://{shown}:{port}/ws)", flush=True)  # noqa: T201
        gc.collect()  # a hub that has ended before this one must not stay
        gc.freeze()  # what the start built stays: the collector need not look at it again
        thresholds = gc.get_threshold()
        gc.set_threshold(COLLECT_AFTER, *thresholds[1:])
        tasks = [asyncio.create_task(work) for work in self._works()]
        endings: set[asyncio.Task[object]] = {asyncio.create_task(event.wait()) for event in (stopped, self._ended)}
        if self._settings.is_isolated:
            endings.add(asyncio.create_task(self._run_child(address)))
        try:
            done, _ = await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            for ending in done:
                ending.result()
        finally:
            _logger.info("stopping: %d clients to drain", self._server.clients)
            await end(endings)  # a child of ours is heard out before nobody takes what it brings
            await end(tasks)
            if self._wanting is not None:  # the source may be another hub's soon
                self._wanting.cancel()
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def _works(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on for as long as the hub serves."""
        return [self._run_source(), self._look(), self._probe_lag()]

    async def _run_child(self, address: tuple[str, int]) -> None:
        """Run the source in a process of its own. Raises StartError when that can't be."""
        settings = self._settings
        child = self._child = ChildFeeder(
            child_command(settings, PROGRAM, address),
            child_environment(os.environ, self._child_token) | source_variables(settings),
            starts_again=settings.source != "recording",  # which would be played from its start
        )
        try:
            await child.run()
        except (ChildRefused, OSError) as error:
            raise StartError(str(error)) from None
        await asyncio.Event().wait()  # what it brought is served for as long as the hub runs

    async def _run_source(self) -> None:
        await keep_running(self._source, self._intake, lambda: self._intake.batches)

    def _want_soon(self, topics: Set[str]) -> None:
        """Tell the source what is wanted, once for all clients that come in this turn of the loop or soon after."""
        if self._wanting is None:
            loop = asyncio.get_running_loop()
            self._wanting = loop.call_at(max(loop.time(), self._want_again_s), self._want, topics)

    def _want(self, topics: Set[str]) -> None:
        self._wanting = None
        self._want_again_s = asyncio.get_running_loop().time() + WANT_EVERY_S
        self._named = wanted_of(topics, self._settings.universes)
        self._source.want(frozenset(self._named))
        self._refuse()

    def _on_told(self, told: Told) -> None:
        """Take what the source says beside its rows."""
        match told:
            case ReferenceData(instruments, universes):
                self._hub.flush()  # before what clients observe changes
                self._reference.take(self._source.name, instruments, universes)
                self._hub.router.renew()
            case Refusals(topics):
                self._refusals = topics
                self._refuse()
            case Figures(counts):
                self._figures = counts

    def _refuse(self) -> None:
        """Tell clients what the source can't give of that which they name."""
        refusals, named = self._refusals, self._named
        self._hub.refuse({name: refusals[topic] for topic in refusals for name in named.get(topic, ())})

    def _events(self) -> Mapping[str, int]:
        starts = {} if self._child is None else {"process started": self._child.starts}
        return {**self._figures, **starts}

    def _reasons_degraded(self) -> list[str]:
        return [*self._opened.reasons_degraded, *self._watch.reasons_degraded()]

    def _on_status(self, status: SourceStatus) -> None:
        self._watch.report_source(status.state.value, status.reason, time_ns() // 1000)

    def _reasons_not_ready(self) -> list[str]:
        if self._server.draining:
            return ["the hub is draining: it is about to restart"]
        return self._watch.reasons_not_ready()

    async def _look(self) -> None:
        while True:
            try:
                self._calendar.know(self._source.trading_days)
                self._watch.look(time_ns() // 1000)
                self._hub.roll(self._calendar.trading_day(self._source.now_ms()))
            except Exception:  # a vendor's clock may raise: a watch that has ended would repeat its last word for ever
                _logger.exception("the markets could not be looked at")
            await asyncio.sleep(LOOK_S)

    async def _probe_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + LAG_PROBE_S
            await asyncio.sleep(LAG_PROBE_S)
            self._metrics.loop_lag.observe(max(0.0, loop.time() - due_s))

    # A hub that is fed

    def _make_feed(self) -> FeedSource:
        feed = FeedSource(
            newest=self._opened.newest, on_hello=self._admit, run=self._opened.run, batch=self._opened.batch
        )
        known = self._acceptance.known
        if known is not None:
            feed.name, feed.simulated = known.source, known.simulated
        return feed

    def _endpoints(self, delivery: Delivery) -> dict[str, Endpoint]:
        if not isinstance(self._source, FeedSource):
            return {}
        self._hub.on_stored = self._source.stored
        right = FeedRight(self._child_token or self._settings.feeding_token)
        return {PATH: FeedEndpoint(self._source, right, rest_s=delivery.rest_s)}

    def _admit(self, hello: Hello) -> bool:
        """Let a feeder go on in this history, or end, so that another history can begin with it."""
        if not self._acceptance.admits(hello):
            self._ended.set()
            return False
        self._hub.source = SourceInfo(hello.source, hello.simulated)
        self._hub.channels = frozenset(hello.channels) | {STATUS}
        return True


def _log_refused(reason: str) -> None:
    _logger.error("row refused: %s", reason)
