"""What the door hands on reaches the hub whole and in order, and the watch and the figures are told."""

from dataclasses import dataclass, field
from typing import Any

from bridge.publishing import HubPublisher, MarketObserver, wanted_of
from bridge.source import Batch, Interruption
from hub.past import GapNotice
from hub.schema import Row
from hub.store import Published, RunBegins
from tests.hub.support.core import Client, make_hub, packed, row_of, tick


@dataclass
class KeptTurns:
    """A store that keeps what it is told to write."""

    turns: list[list[Any]] = field(default_factory=list)

    def append(self, turn: Any, segment: object, offset: int) -> None:
        self.turns.append(list(turn))

    def settle(self) -> None: ...

    def roll(self, day: object) -> None: ...


def test_batches_interruptions_and_runs_reach_the_hub_in_the_order_of_their_calls() -> None:
    hub, store = make_hub(), KeptTurns()
    hub._store = store
    publisher = HubPublisher(hub)
    publisher.begin_run("run-a")
    publisher.publish(Batch("tick", [tick("600000.SH"), tick("600001.SH")], 17, 4))
    publisher.announce(Interruption("tick:*.SH", 1, 5))
    publisher.publish(Batch("1m", [row_of("1m", "600000.SH")], 18))
    hub.flush()
    assert store.turns == [
        [RunBegins("run-a"), Published(1, 2, 17, 4), GapNotice(2, "tick:*.SH", 1, 5), Published(3, 3, 18, 0)]
    ]


def test_an_interruption_reaches_clients_between_the_rows_before_and_after() -> None:
    hub = make_hub()
    client = Client(hub)
    client.answer("subscribe", topics=["tick:*"], since="none")
    publisher = HubPublisher(hub)
    publisher.publish(Batch("tick", [tick("600000.SH", 1)], 17))
    publisher.announce(Interruption("tick:*", 1, 5))
    publisher.publish(Batch("tick", [tick("600000.SH", 5)], 18))
    hub.flush()
    client.pump()
    assert client.told() == [("live", "600000.SH", 1), ("gap", "tick:*", None, None), ("live", "600000.SH", 2)]


class KeptRows:
    """A watch that keeps what it is told of."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def note(self, rows: list[Row]) -> None:
        self.rows += rows


def test_the_watch_is_told_of_ticks_only_and_the_figures_of_every_batch() -> None:
    """Bars may be made by anything: only ticks show that an exchange speaks."""
    watch, counts = KeptRows(), list[float]()
    observer = MarketObserver(watch, counts.append)  # type: ignore[arg-type]
    observer.observe(Batch("tick", packed(tick("600000.SH"), tick("600001.SH")), 17))
    observer.observe(Batch("1m", packed(row_of("1m", "600000.SH"), channel="1m"), 17))
    assert [row[0] for row in watch.rows] == ["600000.SH", "600001.SH"]
    assert counts == [2, 1]


def test_of_the_operator_s_universes_a_source_is_told_what_is_in_them() -> None:
    universes = {"banks": ["600000.SH", "601*.SH"]}
    topics = {"tick:@banks", "tick:600000.SH", "1m:@沪深A股", "status:*"}
    assert wanted_of(topics, universes) == {
        "tick:600000.SH": {"tick:@banks", "tick:600000.SH"},
        "tick:601*.SH": {"tick:@banks"},
        "1m:@沪深A股": {"1m:@沪深A股"},
        "status:*": {"status:*"},
    }
