"""Each figure of the metrics page, for a situation in which it is known."""

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hub.calendar import Calendar
from hub.core import Hub
from hub.health import Health
from hub.metrics import Metrics
from hub.opening import Opened
from hub.watch import Watch
from tests.hub.support.core import JSON, MSGPACK, Client, make_hub, packed, publish, tick

TEN_MS = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""


class Situation:
    """A hub in its parts, with a clock that a test sets and a server that is only its figures."""

    def __init__(self) -> None:
        self.now_ms = TEN_MS
        self.hub: Hub = make_hub()
        calendar = Calendar()
        self.watch = Watch(self.hub, Health(calendar), calendar, lambda: self.now_ms)
        self.server = cast("Any", SimpleNamespace(clients=0, pending_bytes=0, closed_slow=0))
        self.refused: dict[str, int] = {}
        self.metrics = Metrics("1.2.3")
        self.metrics.observe(
            self.hub, self.server, self.watch, Opened(self.hub.history, self.hub.epoch), lambda: self.refused
        )

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of the page, by name and labels."""
        found = {}
        for family in text_string_to_metric_families(self.metrics.page().decode()):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in found, f"{key} comes twice"
                found[key] = sample.value
        return found

    def figure(self, name: str, **labels: str) -> float:
        return self.samples()[name, frozenset(labels.items())]

    def by_label(self, name: str, label: str) -> Mapping[str, float]:
        """The values of one figure by one of its labels."""
        return {dict(labels)[label]: value for (found, labels), value in self.samples().items() if found == name}


@pytest.fixture
def situation() -> Situation:
    return Situation()


def test_every_figure_of_the_hub_is_there_from_the_start(situation: Situation) -> None:
    figures = {name for name, _ in situation.samples() if name.startswith("argus_")}
    assert figures >= {
        "argus_build_info",
        "argus_rows_in_total",
        "argus_batches_in_total",
        "argus_rows_out_total",
        "argus_rows_evicted_total",
        "argus_rows_refused_total",
        "argus_clients",
        "argus_clients_closed_slow_total",
        "argus_subscriptions",
        "argus_audiences",
        "argus_topics",
        "argus_pending_bytes",
        "argus_ring_rows",
        "argus_ring_bytes",
        "argus_source_state",
        "argus_batch_rows_count",
        "argus_publish_to_socket_seconds_count",
        "argus_event_loop_lag_seconds_count",
    }
    assert situation.figure("argus_build_info", version="1.2.3") == 1
    assert situation.figure("process_resident_memory_bytes") > 1e6
    assert any(name == "python_info" for name, _ in situation.samples())


def test_rows_and_batches_in_are_counted(situation: Situation) -> None:
    publish(situation.hub, "1.SH", "2.SH", "1.SH")
    publish(situation.hub, "1.SH")
    assert situation.figure("argus_rows_in_total") == 4
    assert situation.figure("argus_batches_in_total") == 2
    assert situation.figure("argus_topics") == 2


def test_rows_that_were_kept_out_are_counted_by_cause(situation: Situation) -> None:
    situation.refused = {"time zero": 3, "malformed code": 1}
    situation.hub.publish("tick", [tick("1.SH", 1), ("too", "short"), tick("1.SH", 2, object())], 1)
    assert situation.by_label("argus_rows_refused_total", "cause") == {
        "time zero": 3,
        "malformed code": 1,
        "not encodable": 2,
    }
    assert situation.figure("argus_rows_in_total") == 1


def test_rows_out_are_counted_for_each_client(situation: Situation) -> None:
    for codec in (JSON, MSGPACK):
        Client(situation.hub, codec=codec).ask("subscribe", topics=["tick:*"], since="none")
    Client(situation.hub).ask("subscribe", topics=["tick:1.SH"], since="none")
    publish(situation.hub, "1.SH", "2.SH")
    situation.hub.flush()
    assert situation.figure("argus_rows_out_total") == 5


@pytest.mark.parametrize("since", [{}, {"since": {"time": 0}}], ids=["snapshot", "history"])
def test_rows_out_are_counted_also_when_they_come_from_history(situation: Situation, since: Any) -> None:
    publish(situation.hub, "1.SH", "2.SH")
    client = Client(situation.hub)
    client.ask("subscribe", topics=["tick:*"], **since)
    client.pump()
    assert sum(len(message["rows"]) for message in client.messages() if message["type"] == "data") == 2
    assert situation.figure("argus_rows_out_total") == 2


def test_rows_out_are_counted_also_when_the_client_lags(situation: Situation) -> None:
    publish(situation.hub, "1.SH")
    client = Client(situation.hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    publish(situation.hub, "1.SH", "2.SH")
    situation.hub.flush()
    client.pump()
    assert sum(len(message["rows"]) for message in client.messages() if message["type"] == "data") == 3
    assert situation.figure("argus_rows_out_total") == 3


def test_subscriptions_are_counted_by_client_and_audiences_once(situation: Situation) -> None:
    for topics in (["tick:*", "tick:1.SH"], ["tick:*", "tick:1.SH"], ["tick:2.SH"]):
        Client(situation.hub).ask("subscribe", topics=topics)
    assert situation.figure("argus_subscriptions") == 5
    assert situation.figure("argus_audiences") == 2


def test_subscriptions_in_mode_latest_are_counted_too(situation: Situation) -> None:
    client = Client(situation.hub)
    client.ask("subscribe", topics=["tick:*"])
    client.ask("subscribe", topics=["tick:1.SH", "tick:2.SH"], mode="latest")
    assert situation.figure("argus_subscriptions") == 3


def test_what_history_holds_and_lets_go_is_counted(situation: Situation) -> None:
    for number in range(1_200):
        publish(situation.hub, "1.SH", time_ms=number + 1)
        situation.hub.flush()
    held, evicted = situation.figure("argus_ring_rows"), situation.figure("argus_rows_evicted_total")
    assert 1_000 <= held < 1_200
    assert held + evicted == 1_200
    assert situation.figure("argus_ring_bytes") == situation.hub.history.bytes > held * 100


def test_clients_and_what_waits_for_them_are_the_servers_figures(situation: Situation) -> None:
    situation.server.clients, situation.server.pending_bytes, situation.server.closed_slow = 3, 4567, 2
    assert situation.figure("argus_clients") == 3
    assert situation.figure("argus_pending_bytes") == 4567
    assert situation.figure("argus_clients_closed_slow_total") == 2


@pytest.mark.parametrize("state", ["connected", "degraded", "away"])
def test_the_state_of_the_source_is_the_one_that_is_1(situation: Situation, state: str) -> None:
    assert situation.by_label("argus_source_state", "state") == {"connected": 0, "degraded": 0, "away": 1}
    situation.watch.report_source(state, "", 1)
    states = situation.by_label("argus_source_state", "state")
    assert states == {name: float(name == state) for name in ("connected", "degraded", "away")}
    assert situation.by_label("argus_source_state", "source") == {"test": states["away"]}


def test_age_and_state_of_each_market_are_those_of_the_last_look(situation: Situation) -> None:
    assert situation.by_label("argus_data_age_seconds", "market") == {}
    situation.watch.note(packed(*[tick(f"{number}.SH", TEN_MS - 1_500) for number in range(60)]))
    situation.watch.note(packed(*[tick(f"{number}.SZ", TEN_MS - 60_000) for number in range(60)]))
    situation.now_ms += 30_000
    situation.watch.look(1)
    assert situation.by_label("argus_data_age_seconds", "market") == {"SH": 31.5, "SZ": 90.0}
    states = {
        (dict(labels)["market"], dict(labels)["state"])
        for (name, labels), value in situation.samples().items()
        if name == "argus_market_state" and value == 1
    }
    assert states == {("SH", "stale"), ("SZ", "stale")}
    assert len([name for name, _ in situation.samples() if name == "argus_market_state"]) == 8


def test_histograms_hold_what_they_were_told(situation: Situation) -> None:
    for rows in (1, 5_500, 30_000):
        situation.metrics.batch_rows.observe(rows)
    situation.metrics.publish_to_socket.observe(0.004)
    situation.metrics.loop_lag.observe(0.3)
    assert situation.figure("argus_batch_rows_sum") == 35_501
    assert situation.figure("argus_batch_rows_bucket", le="1.0") == 1
    assert situation.figure("argus_batch_rows_bucket", le="10000.0") == 2
    assert situation.figure("argus_batch_rows_bucket", le="+Inf") == 3
    assert situation.figure("argus_publish_to_socket_seconds_bucket", le="0.0025") == 0
    assert situation.figure("argus_publish_to_socket_seconds_bucket", le="0.005") == 1
    assert situation.figure("argus_event_loop_lag_seconds_bucket", le="1.0") == 1


def test_every_figure_of_the_hub_is_explained(situation: Situation) -> None:
    families = list(text_string_to_metric_families(situation.metrics.page().decode()))
    own = [family for family in families if family.name.startswith("argus_")]
    assert len(own) > 15
    assert all(family.documentation.endswith(".") for family in own)
    assert all(family.type != "unknown" for family in own)


def test_two_hubs_in_one_process_have_figures_of_their_own() -> None:
    one, other = Situation(), Situation()
    publish(one.hub, "1.SH")
    assert (one.figure("argus_rows_in_total"), other.figure("argus_rows_in_total")) == (1, 0)


def test_rows_that_were_conflated_are_counted(situation: Situation) -> None:
    client = Client(situation.hub)
    client.ask("subscribe", topics=["tick:*"], since="none", mode="latest")
    publish(situation.hub, "1.SH", "1.SH", "1.SH")
    situation.hub.flush()
    client.pump()
    (rows,) = (message["rows"] for message in client.messages() if message["type"] == "data")
    assert json.dumps([row["seq"] for row in rows]) == "[3]"
    assert [value for (name, _), value in situation.samples().items() if "conflated" in name] == [2]
    assert situation.figure("argus_rows_out_total") == 1
