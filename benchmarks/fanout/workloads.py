"""The workloads: who listens to what, and which rows come when. Everything is fixed before the first row is sent."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

SECOND_NS: Final = 1_000_000_000

ALL: Final = 0
"""As a number of symbols: every one, by pattern."""

HUBS: Final = ("hub", "hub-no-journal")
EVERYBODY: Final = (
    *HUBS, "c-each", "c-gathered", "nats", "broadcast", "picows", "socketify", "fastapi", "socketio", "nchan",
)  # fmt: skip
BATCHING: Final = (*HUBS, "hub-flush-5", "hub-flush-5-no-journal", "c-gathered", "nats", "socketify")
"""Those who send several rows in one system call when rows come fast."""
FASTEST: Final = (*HUBS, "c-gathered", "nats")
"""Those who keep up with the heaviest load; the others would only be seen to lose rows."""


@dataclass(frozen=True)
class Group:
    """Clients that are alike, and whose delays are told apart from those of other groups."""

    name: str
    clients: int
    symbols: int
    reads: bool = True


@dataclass(frozen=True)
class Workload:
    """A fixed schedule and its audience.

    ``batches``: which symbols speak together; they take turns, one every ``period_ns``. ``has_bursts``: whether it
    matters when the last client has the last byte of a batch. For ``warm_up_s`` every topic speaks once (in batches
    of ``warm_up_rows``; 0: in those that count), and for ``pause_s`` nothing comes, before it counts. Workloads of
    one ``family`` are held against each other, so they are run in turns.
    """

    name: str
    what: str
    groups: tuple[Group, ...]
    batches: tuple[Sequence[int], ...]
    period_ns: int
    seconds: float
    channel: str = "tick"
    levels: int = 5
    has_bursts: bool = False
    connects_per_s: float = 0
    warm_up_s: float = 1.0
    warm_up_rows: int = 0
    pause_s: float = 0.5
    contestants: tuple[str, ...] = EVERYBODY
    """Who takes part unless others are asked for."""
    family: str = ""
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def warm_up(self) -> tuple[Sequence[int], ...]:
        """Which symbols speak together before it counts."""
        if not self.warm_up_rows:
            return self.batches
        step, symbols = self.warm_up_rows, self.symbols
        return tuple(range(first, min(first + step, symbols)) for first in range(0, symbols, step))

    @property
    def all_batches(self) -> tuple[Sequence[int], ...]:
        """Those that count, and behind them those for warming up, where they are others."""
        return self.batches + self.warm_up if self.warm_up_rows else self.batches

    @property
    def symbols(self) -> int:
        """How many topics there are."""
        return 1 + max((max(batch) for batch in self.batches), default=-1)

    @property
    def clients(self) -> int:
        """How many connections there are."""
        return sum(group.clients for group in self.groups)

    def subscriptions(self) -> list[tuple[int, Sequence[int] | None]]:
        """Of every client the number of its group and its symbols, None for all of them. The same every time."""
        chance = random.Random(1)  # noqa: S311 - no secret
        found: list[tuple[int, Sequence[int] | None]] = []
        for number, group in enumerate(self.groups):
            for _ in range(group.clients):
                found.append((number, chance.sample(range(self.symbols), group.symbols) if group.symbols else None))
        return found

    def schedule(self) -> tuple[list[tuple[int, int]], int, int]:
        """When which batch is sent: nanoseconds after the start, and its number among all batches.

        Returns:
            The sends, and from when to when they count; what comes before is for warming up.
        """
        warm_ns = int(self.warm_up_s * SECOND_NS)
        once, first = len(self.warm_up), len(self.batches) if self.warm_up_rows else 0
        period_ns = warm_ns // once if self.warm_up_rows else min(self.period_ns, warm_ns // once)
        warm_up = [(number * period_ns, first + number) for number in range(once)]
        from_ns = warm_ns + int(self.pause_s * SECOND_NS)
        count = max(1, round(self.seconds * SECOND_NS / self.period_ns))
        sends = [(from_ns + n * self.period_ns, n % len(self.batches)) for n in range(count)]
        return warm_up + sends, from_ns, from_ns + count * self.period_ns

    def expected_rows(self) -> int:
        """How many rows the clients that read are to get."""
        sends, from_ns, _ = self.schedule()
        hearers = [0] * self.symbols
        everybody = 0
        for number, symbols in self.subscriptions():
            if not self.groups[number].reads:
                continue
            everybody += symbols is None
            for symbol in symbols or ():
                hearers[symbol] += 1
        worth = [sum(hearers[symbol] for symbol in batch) + everybody * len(batch) for batch in self.batches]
        return sum(worth[batch] for due_ns, batch in sends if due_ns >= from_ns)

    def fed_rows(self) -> int:
        """How many rows the feeder brings while it counts."""
        sends, from_ns, _ = self.schedule()
        return sum(len(self.batches[batch]) for due_ns, batch in sends if due_ns >= from_ns)


def _hot(name: str, rows_per_s: int, seconds: float, contestants: tuple[str, ...]) -> Workload:
    return Workload(
        name=name,
        what=f"one topic, 200 clients, one row of 300 bytes a message, {rows_per_s:,} a second",
        groups=(Group("all", 200, 1),),
        batches=((0,),),
        period_ns=SECOND_NS // rows_per_s,
        seconds=seconds,
        levels=8,
        contestants=contestants,
        parameters={"rows_per_s": rows_per_s},
    )


def _burst(name: str, whole: int) -> Workload:
    more = f", and {whole} clients of the whole market" if whole else ""
    return Workload(
        name=name,
        what=f"5,000 rows in one batch every 3 s, 500 clients with 50 random symbols each{more}",
        groups=(Group("50 symbols", 500, 50), *([Group("tick:*", whole, ALL)] if whole else [])),
        batches=(range(5000),),
        period_ns=3 * SECOND_NS,
        seconds=18,
        has_bursts=True,
        contestants=(*FASTEST, "broadcast", "picows", "socketify") if whole else EVERYBODY,
    )


def _steady(name: str, mute: int) -> Workload:
    more = f", {mute} of which never reads" if mute else ""
    reading = Group("reading", 500 - mute, 50)
    return Workload(
        name=name,
        what=f"1,800 rows a second one by one, 500 clients with 50 of 5,400 symbols each{more}",
        groups=(reading, *([Group("never reads", mute, ALL, reads=False)] if mute else [])),
        batches=tuple((symbol,) for symbol in range(5400)),
        period_ns=SECOND_NS // 1800,
        seconds=20,
        warm_up_s=3.0,
        family="steady",
    )


def _level2() -> Workload:
    return Workload(
        name="level-2",
        what="50,000 rows a second on 50 symbols in 1,000 batches, 50 clients with 5 symbols each",
        groups=(Group("all", 50, 5),),
        batches=(range(50),),
        period_ns=SECOND_NS // 1000,
        seconds=60,
        channel="l2transaction",
        contestants=FASTEST,
    )


def _idle() -> Workload:
    return Workload(
        name="idle",
        what="10,000 clients, one topic each, that connect at 1,000 a second and get nothing",
        groups=(Group("all", 10_000, 1),),
        batches=(range(5000),),
        period_ns=SECOND_NS,
        seconds=0,
        connects_per_s=1000,
    )


def _curve(axis: str, clients: int, symbols: int, each: int) -> Workload:
    return Workload(
        name=f"curve-{axis}-{ {'clients': clients, 'symbols': symbols, 'subscriptions': clients * each}[axis] }",
        what=f"{clients:,} clients with {each:,} of {symbols:,} symbols, 500 rows a second in batches of 10",
        groups=(Group("all", clients, each),),
        batches=tuple(range(first, symbols, symbols // 10) for first in range(symbols // 10)),
        period_ns=SECOND_NS // 50,
        seconds=9,
        # Every topic speaks once: that is a row for every subscription, which no server can send within a second.
        warm_up_s=1.0 + clients * each / 250_000,
        warm_up_rows=500,
        contestants=HUBS,
        family=f"curve-{axis}",
        parameters={"clients": clients, "symbols": symbols, "subscriptions": clients * each},
    )


def _curves() -> Iterator[Workload]:
    """Along each axis one thing grows, and the rows that are fed stay; so does what one write carries, about one row.

    Along those of symbols and subscriptions a symbol keeps its clients (10 and 50), so that as many rows are delivered
    for each that is fed. Along that of clients it can't; there what a row costs once is shared by more and more.
    """
    for clients in (50, 500, 5000):
        yield _curve("clients", clients, 5000, 50)
    for symbols in (50, 500, 5000, 50_000):
        yield _curve("symbols", 500, symbols, symbols // 50)
    for each in (5, 50, 500):
        yield _curve("subscriptions", 5000, 100 * each, each)


WORKLOADS: Final = {
    workload.name: workload
    for workload in (
        _hot("hot-unbatched", 300, 10, EVERYBODY),
        _burst("burst", 0),
        *(_hot(f"hot-{rows_per_s}", rows_per_s, 10, BATCHING) for rows_per_s in (300, 1000, 2000, 10_000)),
        _burst("burst-and-whole", 20),
        _steady("steady", 0),
        _steady("steady-mute", 1),
        _level2(),
        _idle(),
        *_curves(),
    )
}
"""By name, the most telling first."""

QUICK: Final = {
    "hot-unbatched": (3.0, ("hub", "c-each", "broadcast", "nats")),
    "hot-2000": (2.0, ("hub", "hub-flush-5", "nats")),
    "burst": (6.0, ("hub", "c-gathered", "nats")),
    "steady": (3.0, ("hub", "nats")),
}
"""For those who can't wait: seconds and contestants."""


def quick(workload: Workload) -> Workload:
    """The same for a shorter time."""
    seconds, contestants = QUICK.get(workload.name, (workload.seconds / 4, workload.contestants))
    return replace(workload, seconds=seconds, contestants=contestants)


def smoke(workload: Workload) -> Workload:
    """The same with hardly a load: for counting, not for timing."""
    few = [replace(group, clients=min(group.clients, 8), symbols=min(group.symbols, 5)) for group in workload.groups]
    return replace(
        workload,
        groups=tuple(few),
        batches=tuple(batch[:50] for batch in workload.batches[:50]),
        warm_up_rows=0,
        period_ns=SECOND_NS // 50,
        seconds=0.2 if workload.seconds else 0,
        warm_up_s=0.2,
        pause_s=0.1,
    )
