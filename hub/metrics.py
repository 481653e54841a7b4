"""What the hub tells Prometheus. Counters are read from the parts when asked for, so that counting costs nothing."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from hub.core import Hub
from hub.opening import Opened
from hub.server import HubServer
from hub.watch import Watch

_BATCH_ROWS: Final = (1, 10, 100, 500, 1000, 2000, 5000, 10_000, 20_000)
_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Figure(NamedTuple):
    """A figure of a part that this module does not know. ``counts``: it only ever grows."""

    name: str
    documentation: str
    counts: bool
    read: Callable[[], float]


class Spread(Collector):
    """How often something was how large: a Prometheus histogram that is observed for every batch and every turn.

    The library's own takes locks and goes through its buckets: 2 % of the CPU at 10,000 batches a second.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        """What was observed up to now."""
        buckets = list(zip((*map(str, map(float, self._bounds)), "+Inf"), accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class Metrics:
    """The figures of one hub, in a registry of its own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        Info("argus_build", "What is running.", registry=self.registry).info({"version": version})
        self.batch_rows = Spread("argus_batch_rows", "Rows in one batch of the source.", _BATCH_ROWS)
        self.publish_to_socket = Spread(
            "argus_publish_to_socket_seconds",
            "From the publishing of a turn's first row until its frames were given to the sockets.",
            _SECONDS,
        )
        self.journal_append = Spread(
            "argus_journal_append_seconds",
            "Writing what one turn published to the journal, before anybody is sent it.",
            _SECONDS,
        )
        self.loop_lag = Spread("argus_event_loop_lag_seconds", "How late the event loop ran a timer.", _SECONDS)
        for spread in (self.batch_rows, self.publish_to_socket, self.journal_append, self.loop_lag):
            self.registry.register(spread)

    def observe(
        self,
        hub: Hub,
        server: HubServer,
        watch: Watch,
        opened: Opened,
        refused: Callable[[], Mapping[str, int]],
        events: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Collect from these parts from now on.

        Args:
            refused: rows of the source that were kept out, by cause.
            events: how often something happened at the source, by what it was.
        """
        self.registry.register(_Parts(hub, server, watch, opened, refused, events))

    def observe_figures(self, *figures: Figure) -> None:
        """Collect these as well from now on."""
        self.registry.register(_Figures(figures))

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _Figures(Collector):
    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the figures."""
        for name, documentation, counts, read in self._figures:
            yield (_counter if counts else _gauge)(name, documentation, read())


class _Parts(Collector):
    def __init__(
        self,
        hub: Hub,
        server: HubServer,
        watch: Watch,
        opened: Opened,
        refused: Callable[[], Mapping[str, int]],
        events: Callable[[], Mapping[str, int]],
    ) -> None:
        self._hub = hub
        self._server = server
        self._watch = watch
        self._opened = opened
        self._refused = refused
        self._events = events

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the parts."""
        hub, server, history = self._hub, self._server, self._hub.history
        audiences = list(hub.router.audiences)
        yield _counter("argus_rows_in", "Rows published.", hub.counts.rows_in)
        yield _counter("argus_batches_in", "Batches published.", hub.counts.batches_in)
        yield _counter("argus_rows_out", "Rows given to clients, each counted for each client.", hub.counts.rows_out)
        yield _counter(
            "argus_rows_conflated", "Rows replaced by newer ones, in mode latest.", hub.counts.rows_conflated
        )
        yield _counter("argus_gaps_in", "Gaps announced because the source did not give rows.", hub.counts.gaps_in)
        yield _counter("argus_rows_evicted", "Rows that memory let go.", history.evicted_rows)
        yield _counter("argus_clients_closed_slow", "Clients given up because they were too slow.", server.closed_slow)
        refused = CounterMetricFamily("argus_rows_refused", "Rows of the source kept out.", labels=["cause"])
        for cause, count in {**self._refused(), "not encodable": hub.counts.rows_refused}.items():
            refused.add_metric([cause], count)
        yield refused
        events = CounterMetricFamily("argus_source_events", "What happened at the source.", labels=["event"])
        for event, count in self._events().items():
            events.add_metric([event], count)
        yield events
        yield _gauge("argus_clients", "Clients connected.", server.clients)
        yield _gauge("argus_subscriptions", "Topic strings that clients are subscribed to.", hub.router.subscriptions)
        yield _gauge("argus_audiences", "Different sets of subscriptions.", len(audiences))
        yield _gauge("argus_topics", "Topics that have spoken.", sum(map(len, history.channels.values())))
        yield _gauge("argus_pending_bytes", "Encoded bytes that wait for clients.", server.pending_bytes)
        yield _gauge("argus_ring_rows", "Rows held in memory.", history.rows)
        yield _gauge("argus_ring_bytes", "What the held rows cost.", history.bytes)
        yield from self._collect_journal()
        state = GaugeMetricFamily("argus_source_state", "1 for the state of the source.", labels=["source", "state"])
        for name in ("connected", "degraded", "away"):
            state.add_metric([hub.source.name, name], float(name == self._watch.source_state))
        yield state
        ages = GaugeMetricFamily("argus_data_age_seconds", "Age of a market's newest data.", labels=["market"])
        states = GaugeMetricFamily("argus_market_state", "1 for the state of a market.", labels=["market", "state"])
        for market, health in self._watch.markets.items():
            if health.age_ms is not None:
                ages.add_metric([market], health.age_ms / 1000)
            for name in ("live", "quiet", "stale", "closed"):
                states.add_metric([market, name], float(name == health.state))
        yield ages
        yield states

    def _collect_journal(self) -> Iterator[Metric]:
        kept, opened = self._opened.journal, self._opened
        yield _gauge("argus_journal_on", "1 while every row is written to the journal.", float(opened.is_kept))
        if kept is not None:
            journal = kept.journal
            yield _gauge("argus_journal_bytes", "What the journal takes on disk.", journal.bytes)
            yield _gauge("argus_journal_rows", "Rows that the journal holds.", journal.at + 1 - journal.first_at)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
