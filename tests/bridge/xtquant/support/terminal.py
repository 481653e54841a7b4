"""A terminal that does what a test says: it answers what xtdata asks, pushes quotes, and can go wrong in every way.

It listens at an address of its own, where the scripted native module of `native/datacenter.py` connects to, be that in
this process or in another.
"""

import asyncio
import contextlib
import json
import pickle
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

TEN_MS: Final = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""

MIDNIGHT_MS: Final = TEN_MS - 36_000_000
UNSET: Final = 1.7976931348623157e308

Tick = dict[str, Any]


def tick(time_ms: int, price: float = 10.0, *, volume: int = 1000, **more: Any) -> Tick:
    """A tick as xtdata gives it, floating-point noise included. ``volume`` in hands."""
    return {
        "time": time_ms,
        "lastPrice": price,
        "open": price,
        "high": price,
        "low": price,
        "lastClose": price,
        "amount": price * volume * 100,
        "volume": volume,
        "pvolume": volume * 100,
        "stockStatus": 3,
        "openInt": 13,
        "transactionNum": 7,
        "lastSettlementPrice": price,
        "settlementPrice": 0.0,
        "pe": 0.0,
        "askPrice": [price + 0.01 * level + 1e-15 for level in range(1, 6)],
        "bidPrice": [price - 0.01 * level - 1e-15 for level in range(1, 6)],
        "askVol": [1, 2, 3, 4, 5],
        "bidVol": [5, 4, 3, 2, 1],
        "volRatio": 0.0,
        "speed1Min": 0.0,
        "speed5Min": 0.0,
        **more,
    }


def codes_of(count: int, market: str = "SH") -> list[str]:
    """Codes of stocks of the main board."""
    first = 600_000 if market == "SH" else 1
    return [f"{first + number:06d}.{market}" for number in range(count)]


@dataclass
class Terminal:
    """What the terminal has and does.

    Attributes:
        answers: by the name of a call, what is done instead of answering it; it returns the answer, or raises.
        calls: everything that was asked, in order, with its arguments.
        held: what is subscribed on the newest connection, by number.
    """

    sectors: dict[str, list[str]]
    ticks: dict[str, Tick] = field(default_factory=dict)
    trading_dates: list[int] = field(default_factory=lambda: [MIDNIGHT_MS])
    holidays: list[int] = field(default_factory=list)
    answers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    held: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    connections: int = 0
    pushes_state: bool = True
    """Whether a whole subscription begins with the newest tick of everything, as a terminal's does."""
    as_bson: bool = True
    port: int = 0

    def __post_init__(self) -> None:
        self.changed = asyncio.Event()
        self._numbers = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def is_up(self) -> bool:
        return self._server is not None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def codes(self) -> list[str]:
        return list(dict.fromkeys(code for codes in self.sectors.values() for code in codes))

    async def start(self) -> None:
        """Listen, at the port of before if there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Quit: nobody can connect, and who is connected is cut off."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def cut(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def abort_client(self) -> None:
        """Have the native layer of the newest connection abort its process."""
        self._say(("abort",))

    def tell(self, control: str, status: str, address: str = "1.2.3.4:55300") -> None:
        """Tell of a link, as the status callbacks have it."""
        self._say(("tell", control, {"address": address, "status": status}))

    def push(self, ticks: dict[str, Any], *, only: Callable[[tuple[Any, ...]], bool] = lambda _: True) -> None:
        """Push to every subscription of whole quotes what is asked for of these ticks, and note them as the newest."""
        self.ticks.update(ticks)
        for number, (kind, *what) in list(self.held.items()):
            if kind == "whole" and only((kind, *what)):
                wanted = {code: ticks[code] for code in what[0] if code in ticks}
                if wanted:
                    self.push_raw(number, wanted)

    def push_single(self, code: str, period: str, rows: list[dict[str, Any]]) -> None:
        """Push rows to the single subscriptions of an instrument and period."""
        for number, what in list(self.held.items()):
            if what == ("single", code, period):
                self.push_raw(number, {code: rows})

    def push_raw(self, number: int, said: Any) -> None:
        """Push whatever it is to a subscription, as BSON if the terminal does so."""
        if self.as_bson and isinstance(said, dict):
            from tests.bridge.xtquant.support.bson import encode

            said = encode(said)
        self._say(("push", number, said))

    async def until(self, happened: Callable[[], object], timeout_s: float = 60) -> None:
        """Wait until something of this terminal is so."""
        async with asyncio.timeout(timeout_s):
            while not happened():
                self.changed.clear()
                await self.changed.wait()

    def wholes(self) -> list[list[str]]:
        """The lists of the whole quotes that are subscribed."""
        return [what[1] for what in self.held.values() if what[0] == "whole"]

    def singles(self) -> set[tuple[str, str]]:
        """Code and period of the single subscriptions."""
        return {(what[1], what[2]) for what in self.held.values() if what[0] == "single"}

    def _say(self, message: tuple[Any, ...]) -> None:
        if self._writers:
            data = pickle.dumps(message)
            self._writers[-1].write(struct.pack("<I", len(data)) + data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.connections += 1
        self.held.clear()
        self._writers.append(writer)
        self.changed.set()
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    (size,) = struct.unpack("<I", await reader.readexactly(4))
                    number, name, arguments = pickle.loads(await reader.readexactly(size))  # noqa: S301 - our own
                    await self._answer(number, name, arguments)
        finally:
            self._talks.discard(task)
            if writer in self._writers:
                self._writers.remove(writer)
            writer.close()
            self.changed.set()

    async def _answer(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        self.calls.append((name, *arguments))
        try:
            value = (self.answers.get(name) or getattr(self, f"_{name}"))(*arguments)
            if asyncio.iscoroutine(value):
                value = await value
        except Exception as error:
            self._say(("raise", number, str(error)))
        else:
            self._say(("return", number, value))
            if name == "whole" and self.pushes_state:
                self.push_raw(value, {code: self.ticks[code] for code in arguments[0] if code in self.ticks})
        self.changed.set()

    # Answers

    def _control(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _sector_list(self) -> list[str]:
        return list(self.sectors)

    def _sector(self, name: str) -> list[str]:
        return self.sectors.get(name, [])

    def _instrument(self, code: str) -> dict[str, Any] | None:
        digits = 3 if code.startswith("5") else 2
        return {
            "ExchangeID": code[-2:],
            "InstrumentID": code[:6],
            "InstrumentName": f"股票{code[:6]}",
            "PriceTick": 0.1**digits,
            "VolumeMultiple": 1,
            "OpenDate": "19991110",
            "ExpireDate": 99999999,
            "PreClose": 9.540000000000001,
            "UpStopPrice": 10.49,
            "DownStopPrice": UNSET,
            "IsTrading": True,
            "ExtendInfo": {},
        }

    def _trading_dates(self, market: str) -> list[int]:
        return self.trading_dates

    def _holidays(self) -> list[int]:
        return self.holidays

    def _full_tick(self, codes: list[str]) -> str:
        return json.dumps({code: self.ticks[code] for code in codes if code in self.ticks})

    def _whole(self, codes: list[str]) -> int:
        return self._hold(("whole", codes))

    def _single(self, code: str, period: str) -> int:
        return self._hold(("single", code, period))

    def _unsubscribe(self, number: int) -> int:
        self.held.pop(number, None)
        return 0

    def _hold(self, what: tuple[Any, ...]) -> int:
        self._numbers += 1
        self.held[self._numbers] = what
        return self._numbers


@asynccontextmanager
async def a_terminal(sectors: dict[str, list[str]], **more: Any) -> AsyncIterator[Terminal]:
    """A terminal that runs for the length of a ``with`` block."""
    terminal = Terminal(sectors, **more)
    await terminal.start()
    try:
        yield terminal
    finally:
        await terminal.stop()
