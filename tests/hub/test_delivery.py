"""When the core's work is done: one flush a turn, lagging clients in turn, and what waits for a time at that time."""

import math
from collections.abc import Callable
from typing import Any

import pytest

import hub.delivery
from hub.core import Hub
from hub.delivery import PUMP_BUDGET_S, READING_S, SETTLE_ROWS, SETTLE_S, Delivery
from tests.hub.support.core import Client, make_hub, publish, tick


class Turns:
    """An event loop of which a test runs each turn itself, and whose time stands still."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self._due: list[Callable[[], object]] = []
        self._timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self._due.append(lambda: callback(*args))

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: Any) -> "Turns.Timer":
        return self.call_at(self.now_s + delay_s, callback, *args)

    def call_at(self, when_s: float, callback: Callable[..., object], *args: Any) -> "Turns.Timer":
        entry = (when_s, lambda: callback(*args))
        self._timers.append(entry)
        return self.Timer(self, entry)

    class Timer:
        def __init__(self, turns: "Turns", entry: Any) -> None:
            self._turns, self._entry = turns, entry

        def when(self) -> float:
            return float(self._entry[0])

        def cancel(self) -> None:
            if self._entry in self._turns._timers:
                self._turns._timers.remove(self._entry)

    @property
    def timers(self) -> list[float]:
        """When the timers that are set are due."""
        return sorted(when_s for when_s, _ in self._timers)

    def run(self) -> int:
        """Run one turn; how much there was to do."""
        ready = [timer for timer in self._timers if timer[0] <= self.now_s]
        self._timers = [timer for timer in self._timers if timer not in ready]
        due, self._due = self._due, []
        for callback in [*(callback for _, callback in ready), *due]:
            callback()
        return len(due) + len(ready)


class Lagging:
    """An outbox with so many steps to go. ``log`` is where all of them tell what they did."""

    def __init__(self, name: str, log: list[str], steps: int = 1) -> None:
        self.name = name
        self.steps = steps
        self.writable = True
        self.is_shut = False
        self.dues_s: list[float] = []
        self.told: list[tuple[int, float]] = []
        self._log = log
        self.on_pump: Callable[[], object] = lambda: None

    def pump(self, delivered_at: int, now_s: float) -> bool:
        self.told.append((delivered_at, now_s))
        self._log.append(self.name)
        self.on_pump()
        self.steps -= 1
        return self.steps > 0

    def fail(self) -> None:
        self.is_shut = True

    def due_s(self) -> float:
        return min(self.dues_s, default=math.inf)


class Clock:
    """Stands in for `perf_counter`."""

    def __init__(self) -> None:
        self.now_s = 7.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hub.delivery, "perf_counter", clock)
    return clock


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def small_hub() -> Hub:
    return make_hub()


@pytest.fixture
def flushed() -> list[float]:
    return []


@pytest.fixture
def delivery(small_hub: Hub, turns: Turns, flushed: list[float], clock: Clock) -> Any:
    loop: Any = turns
    return Delivery(small_hub, loop, flushed.append)


@pytest.fixture
def log(small_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log: list[str] = []
    flush = small_hub.deliver

    def logged_flush() -> None:
        log.append("flush")
        flush()

    monkeypatch.setattr(small_hub, "deliver", logged_flush)
    return log


def test_all_that_is_published_in_a_turn_is_flushed_together_in_the_next(
    delivery: Delivery, small_hub: Hub, turns: Turns, flushed: list[float]
) -> None:
    client = Client(small_hub)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.messages()
    publish(small_hub, "1.SH")
    publish(small_hub, "2.SH")
    assert client.messages() == []
    assert turns.run() == 1
    (message,) = client.messages()
    assert [row["code"] for row in message["rows"]] == ["1.SH", "2.SH"]
    assert turns.run() == 0
    publish(small_hub, "1.SH")
    assert turns.run() == 1
    assert len(flushed) == 2


def test_on_flush_is_told_the_time_since_the_first_row_was_published(
    delivery: Delivery, small_hub: Hub, turns: Turns, flushed: list[float], clock: Clock
) -> None:
    publish(small_hub, "1.SH")
    clock.now_s += 0.25
    publish(small_hub, "2.SH")
    clock.now_s += 0.5
    turns.run()
    assert flushed == [0.75]
    clock.now_s += 10
    publish(small_hub, "1.SH")
    clock.now_s += 0.125
    turns.run()
    assert flushed == [0.75, 0.125]


def test_rows_wait_for_others_as_long_as_they_may_and_travel_together(small_hub: Hub, turns: Turns) -> None:
    loop: Any = turns
    Delivery(small_hub, loop, lambda _: None, interval_s=0.5)
    client = Client(small_hub)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.messages()
    for codes in (("1.SH", "2.SH"), ("3.SH",)):
        for code in codes:
            publish(small_hub, code)
            assert turns.run() == 0
            turns.now_s += 0.2
        turns.now_s += 0.5 - 0.2 * len(codes)
        assert turns.run() == 1
        (message,) = client.messages()
        assert tuple(row["code"] for row in message["rows"]) == codes
        turns.now_s += 10
        assert turns.run() == 1  # what could wait until they were sent
    assert turns.timers == []


def test_what_nobody_waits_for_is_done_later_once_for_all_flushes(
    delivery: Delivery, small_hub: Hub, turns: Turns
) -> None:
    stored: list[int] = []
    small_hub.on_stored = stored.append
    for batch in (1, 2, 3):
        small_hub.publish("tick", [tick("1.SH")], 17, batch)
        turns.run()
        turns.now_s += SETTLE_S / 4
    assert (small_hub.history.delivered_at, stored) == (3, [])
    turns.now_s += SETTLE_S
    turns.run()
    assert (stored, turns.timers) == ([3], [])
    small_hub.publish("tick", [tick("1.SH")] * SETTLE_ROWS, 17, 4)  # much does not wait
    turns.run()
    assert (stored, turns.timers) == ([3, 4], [])
    small_hub.publish("tick", [tick("1.SH")], 17, 5)
    turns.run()
    delivery.end()  # nothing of a hub that ends is left to be done, or keeps it in memory
    assert (stored, turns.timers) == ([3, 4, 5], [])
    small_hub.publish("tick", [tick("1.SH")], 17, 6)
    turns.run()
    assert turns.timers == []


def test_what_would_wait_for_the_next_flush_need_not_be_read_yet(small_hub: Hub, turns: Turns) -> None:
    loop: Any = turns
    delivery = Delivery(small_hub, loop, lambda _: None, interval_s=0.5)
    assert delivery.rest_s() == 0
    publish(small_hub, "1.SH")
    turns.now_s += 0.2
    assert delivery.rest_s() == pytest.approx(0.3 - READING_S)
    turns.now_s += 0.3 - READING_S / 2
    assert delivery.rest_s() == 0
    turns.now_s += READING_S / 2
    assert turns.run() == 1
    assert delivery.rest_s() == 0
    assert Delivery(small_hub, loop, lambda _: None).rest_s() == 0


def test_after_a_flush_that_failed_the_next_one_comes_all_the_same(
    delivery: Delivery, small_hub: Hub, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(small_hub, "deliver", lambda: 1 / 0)
        publish(small_hub, "1.SH")
        with pytest.raises(ZeroDivisionError):
            turns.run()
    publish(small_hub, "1.SH")
    turns.run()
    assert small_hub.history.delivered_at == 2


def test_lagging_clients_take_turns_until_each_has_everything(delivery: Any, turns: Turns, log: list[str]) -> None:
    for name, steps in (("a", 3), ("b", 1), ("c", 2)):
        delivery.pump_soon(Lagging(name, log, steps))
    assert log == []
    assert turns.run() == 1
    assert log == ["a", "b", "c", "a", "c", "a"]
    assert turns.run() == 0


def test_a_client_is_queued_once_however_often_it_is_asked_for(delivery: Any, turns: Turns, log: list[str]) -> None:
    client = Lagging("a", log)
    for _ in range(3):
        delivery.pump_soon(client)
    turns.run()
    assert log == ["a"]
    delivery.pump_soon(client)
    turns.run()
    assert log == ["a", "a"]


def test_a_client_is_told_what_was_delivered_and_the_time(
    delivery: Any, small_hub: Hub, turns: Turns, log: list[str]
) -> None:
    publish(small_hub, "1.SH", "2.SH")
    turns.run()
    publish(small_hub, "3.SH")
    client = Lagging("a", log)
    delivery.pump_soon(client)
    turns.run()
    assert client.told == [(3, 50.0)]


def test_history_gives_way_to_live_rows_when_its_time_in_a_turn_is_used_up(
    delivery: Any, small_hub: Hub, turns: Turns, log: list[str], clock: Clock
) -> None:
    """A step of a client takes longer than the budget: after each there is room for a flush."""

    def work() -> None:
        clock.now_s += PUMP_BUDGET_S * 1.1
        publish(small_hub, "1.SH")

    for name in ("a", "b"):
        client = Lagging(name, log, steps=2)
        client.on_pump = work
        delivery.pump_soon(client)
    while turns.run():
        pass
    assert log == ["a", "flush", "b", "flush", "a", "flush", "b", "flush"]


def test_as_many_clients_as_the_time_allows_are_served_in_a_turn(
    delivery: Any, turns: Turns, log: list[str], clock: Clock
) -> None:
    for name in "abcdef":
        client = Lagging(name, log)
        client.on_pump = lambda: setattr(clock, "now_s", clock.now_s + PUMP_BUDGET_S / 2.5)
        delivery.pump_soon(client)
    turns.run()
    assert log == ["a", "b", "c"]
    turns.run()
    assert log == ["a", "b", "c", "d", "e", "f"]
    assert turns.run() == 0


def test_a_client_that_comes_while_others_are_served_is_served_too(delivery: Any, turns: Turns, log: list[str]) -> None:
    late = Lagging("late", log)
    first = Lagging("first", log)
    first.on_pump = lambda: delivery.pump_soon(late)
    delivery.pump_soon(first)
    while turns.run():
        pass
    assert log == ["first", "late"]


def test_a_client_whose_step_fails_does_not_hold_up_the_others(delivery: Any, turns: Turns, log: list[str]) -> None:
    failing, other, later = Lagging("failing", log), Lagging("other", log, steps=2), Lagging("later", log)
    failing.on_pump = lambda: 1 / 0
    delivery.pump_soon(failing)
    delivery.pump_soon(other)
    turns.run()
    delivery.pump_soon(later)
    while turns.run():
        pass
    assert sorted(log) == ["failing", "later", "other", "other"]
    assert failing.is_shut


def test_a_client_with_something_for_later_is_pumped_at_that_time(delivery: Any, turns: Turns, log: list[str]) -> None:
    client = Lagging("a", log)
    client.dues_s = [53.0, 58.0]
    delivery.pump_soon(client)
    turns.run()
    assert turns.timers == [53.0]
    turns.now_s = 52.9
    assert turns.run() == 0
    turns.now_s = 53.0
    client.on_pump = lambda: client.dues_s.pop(0)
    while turns.run():
        pass
    assert log == ["a", "a"]
    assert turns.timers == [58.0]


def test_what_is_overdue_is_done_in_the_next_turn(delivery: Any, turns: Turns, log: list[str]) -> None:
    client = Lagging("a", log)
    client.dues_s = [49.0]
    client.on_pump = lambda: client.dues_s.clear() if len(log) == 2 else None
    delivery.pump_soon(client)
    while turns.run():
        pass
    assert log == ["a", "a"]


def test_something_that_is_due_earlier_than_what_a_client_waits_for_is_not_held_up_by_it(
    delivery: Any, turns: Turns, log: list[str]
) -> None:
    """A slow replay goes on in an hour; meanwhile a conflated row comes that is due in a tenth of a second."""
    client = Lagging("a", log)
    client.dues_s = [3650.0]
    delivery.pump_soon(client)
    turns.run()
    client.dues_s = [50.1, 3650.0]
    delivery.pump_soon(client)
    turns.run()
    assert turns.timers[0] == 50.1


def test_a_client_that_is_pumped_before_its_time_is_still_woken_once_only(
    delivery: Any, turns: Turns, log: list[str]
) -> None:
    client = Lagging("a", log)
    client.dues_s = [53.0]
    for _ in range(2):
        delivery.pump_soon(client)
        turns.run()
    assert turns.timers == [53.0]
    client.dues_s = [55.0]
    delivery.pump_soon(client)
    turns.run()
    turns.now_s = 55.0
    client.on_pump = client.dues_s.clear
    while turns.run():
        pass
    assert turns.timers == []
    assert client.dues_s == []


def test_a_client_that_is_not_writable_is_not_woken_by_time(delivery: Any, turns: Turns, log: list[str]) -> None:
    client = Lagging("a", log)
    client.dues_s = [53.0]
    client.writable = False
    delivery.pump_soon(client)
    turns.run()
    assert turns.timers == []


def test_clients_with_conflated_rows_are_pumped_after_the_flush(
    delivery: Delivery, small_hub: Hub, turns: Turns
) -> None:
    client = Client(small_hub)
    client.ask("subscribe", topics=["tick:*"], since="none", mode="latest")
    client.messages()
    publish(small_hub, "1.SH", "2.SH", "1.SH")
    while turns.run():
        pass
    assert client.told() == [("live", "2.SH", 1), ("live", "1.SH", 2)]
    assert not small_hub.conflating
