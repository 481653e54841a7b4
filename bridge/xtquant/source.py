"""The terminal as a source of the hub: connects, listens, notices when quotes stop, and does something about it."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from typing import Any, Final

import msgspec

from bridge.source import Batch, Figures, Interruption, ProcessMustEnd, ReferenceData, Sink, SourceState, SourceStatus
from bridge.xtquant.asking import ask_instruments, ask_sectors
from bridge.xtquant.inbox import Inbox
from bridge.xtquant.ladder import Ladder, Step
from bridge.xtquant.link import Link
from bridge.xtquant.liveness import Liveness
from bridge.xtquant.morning import Daily
from bridge.xtquant.normaliser import Normaliser, newest_by_market
from bridge.xtquant.options import Options
from bridge.xtquant.owner import CallTimeout, Owner
from bridge.xtquant.package import PackageError
from bridge.xtquant.reference import Reference, ReferenceFile
from bridge.xtquant.terminal import TOKEN_MODE_TIMEOUT_S, LinkLost, Terminal, Unreachable
from bridge.xtquant.units import VolumeUnit, judge
from bridge.xtquant.wanting import Wanting
from bridge.xtquant.words import Heard, LinkSaid, Listening
from hub.schema import CHANNELS, STATUS, Row

LOOK_S: Final = 0.5
FIGURES_S: Final = 2.0
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0
"""Between attempts to connect."""
CONNECT_TIMEOUT_S: Final = 60.0
DISCONNECT_TIMEOUT_S: Final = 2.0
PROBED: Final = 20
"""Instruments whose newest tick is asked for before the open."""

TERMINAL: Final = LinkSaid("the terminal")
QUOTE_SERVER: Final = LinkSaid("the quote server")

_logger = logging.getLogger("argus.xtquant")


class XtquantSource:
    """A miniQMT terminal, or xtdatacenter in its place.

    Args:
        now_ms: the wall clock.
    """

    name = "xtquant"
    simulated = False
    continues = True
    channels = frozenset(CHANNELS) - {STATUS}

    def __init__(
        self,
        options: Options,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now_ms = now_ms
        self.normaliser = Normaliser(monotonic_s)
        self._options = options
        self._monotonic_s = monotonic_s
        self._counts: Counter[str] = Counter()
        self._file = ReferenceFile(options.data)
        self._reference = self._file.read()
        self._liveness = Liveness(options.stale_after_s)
        self._ladder = Ladder(options.stale_after_s, monotonic_s())
        self._wanting = Wanting(options.max_subscriptions, options.grace_s, monotonic_s)
        self._refresh = Daily(options.refresh_at, self._liveness.calendar)
        self._probe = Daily(options.probe_at, self._liveness.calendar)
        self._sink: Sink
        self._link: Link | None = None
        self._told: SourceStatus | None = None
        self._wrong: dict[str, str] = {}  # what is wrong although rows come, by what it is about
        self._missed: dict[str, int] = {}  # markets whose quotes had stopped, each with its newest time before
        self._is_unit_judged = False
        self._said: list[str] = []  # why to look at once
        self._woken: asyncio.Event | None = None
        self._told_figures_s = 0.0
        self._know()

    @property
    def trading_days(self) -> frozenset[date] | None:
        """Those that the terminal told, and those up to which it knows the holidays."""
        return None if self._reference is None else self._reference.known_days

    @property
    def markets(self) -> Mapping[str, int]:
        """The markets of the sectors."""
        return {} if self._reference is None else self._reference.markets

    def want(self, topics: frozenset[str]) -> None:
        """Take what clients want."""
        self._wanting.topics = topics
        self._wake()

    async def run(self, sink: Sink) -> None:
        """Deliver until cancelled. Raises ProcessMustEnd when a call hangs, or nothing else brings quotes back."""
        self._sink, self._told, self._woken = sink, None, asyncio.Event()
        owner = Owner()
        inbox = Inbox(self._hear)
        terminal = Terminal(self._options, inbox.listener(TERMINAL), inbox.listener(QUOTE_SERVER))
        self._report(SourceState.AWAY, "connecting to the terminal")
        self._tell_reference()
        pause_s, began_s = FIRST_PAUSE_S, self._monotonic_s()
        try:
            while True:
                try:
                    is_slow = self._options.token_mode is not None
                    timeout_s = TOKEN_MODE_TIMEOUT_S if is_slow else CONNECT_TIMEOUT_S
                    address = await owner.call(terminal.connect, timeout_s=timeout_s)
                    _logger.info("connected to the terminal at %s", address)
                    self._counts["connected"] += 1
                    self.normaliser.decode = terminal.decode
                    began_s = self._monotonic_s()
                    await self._live(Link(terminal, owner, inbox, self._counts), terminal, owner)
                except (PackageError, Unreachable) as error:
                    self._counts["not connected"] += 1
                    self._report(SourceState.AWAY, f"{error}; trying again")
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, LAST_PAUSE_S)
                except (CallTimeout, ProcessMustEnd, asyncio.CancelledError):
                    raise
                except Exception as error:
                    lost = error if isinstance(error, LinkLost) else LinkLost(f"xtdata failed ({_in_words(error)})")
                    if lost is not error:  # closed source, which raises what it likes
                        _logger.exception("xtdata failed")
                    self._counts["connection lost"] += 1
                    self._report(SourceState.AWAY, f"{lost}; connecting again")
                    if self._monotonic_s() - began_s > LAST_PAUSE_S:
                        pause_s = FIRST_PAUSE_S
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, LAST_PAUSE_S)
                finally:
                    self._link = None
        except CallTimeout as hung:
            self._report(SourceState.AWAY, str(hung))
            raise ProcessMustEnd(str(hung)) from None
        finally:
            with suppress(CallTimeout):
                await owner.call(terminal.disconnect, timeout_s=DISCONNECT_TIMEOUT_S)
            owner.stop()

    # One connection

    async def _live(self, link: Link, terminal: Terminal, owner: Owner) -> None:
        """Listen on a connection until it is lost."""
        self._link = link
        self._said.clear()
        self._wrong.pop(QUOTE_SERVER.link, None)
        self._wanting.lose_all()
        reference = await ask_sectors(owner, terminal, self._options, self.now_ms())
        self._take_sectors(reference)
        for daily in (self._refresh, self._probe):
            if daily.is_due(self.now_ms()):
                daily.done(self.now_ms())  # by connecting
        codes = self._by_market()
        for market in codes:
            await link.listen_to(market, codes[market])
        await self._baseline(link, codes)
        self._report_how_it_is()
        refreshing: asyncio.Task[Reference] | None = None
        if self._reference is None or self._reference.day != reference.day or not self._reference.instruments:
            refreshing = asyncio.create_task(ask_instruments(owner, terminal, reference, self._counts))
        try:
            while True:
                await self._rest()
                if not await owner.call(terminal.is_connected):
                    raise LinkLost("the connection to the terminal is lost")
                if refreshing is not None and refreshing.done():
                    self._take_reference(await refreshing)
                    refreshing = None
                await self._look(link)
                await self._meet_wishes(link)
                if self._refresh.is_due(self.now_ms()) and refreshing is None:
                    self._refresh.done(self.now_ms())
                    reference = await self._renew(link, terminal, owner)
                    refreshing = asyncio.create_task(ask_instruments(owner, terminal, reference, self._counts))
                if self._probe.is_due(self.now_ms()):
                    self._probe.done(self.now_ms())
                    await self._try_out(terminal, owner)
                self._tell_figures()
        finally:
            if refreshing is not None:
                refreshing.cancel()
                await asyncio.gather(refreshing, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait until there is something to do, for half a second at most."""
        assert self._woken is not None  # noqa: S101 - it runs
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._woken.wait()
        self._woken.clear()

    async def _look(self, link: Link) -> None:
        """Judge the age of the data, and take the next step where it is too old."""
        now_ms, said = self.now_ms(), list(self._said)
        self._said.clear()
        stale = self._liveness.stale(now_ms)
        healed = self._ladder.taken and not stale
        step = self._ladder.look(self._monotonic_s(), is_stale=bool(stale), has_brought=self._liveness.has_brought)
        if healed:
            _logger.info("quotes come again")
            self._counts["healed"] += 1
            self._wrong.pop("quotes", None)
        if step is not None:
            await self._climb(link, step, stale)
        elif said:
            _logger.warning("%s: subscribing anew", "; ".join(said))
            await self._resubscribe(link, self._by_market())
        self._report_how_it_is()

    async def _climb(self, link: Link, step: Step, stale: Mapping[str, int | None]) -> None:
        told = ", ".join(f"{market} ({_age(age_ms)})" for market, age_ms in sorted(stale.items()))
        what = f"quotes have stopped, newest of {told}"
        self._counts[f"step {step.value}"] += 1
        for market in stale:
            self._missed.setdefault(market, self._liveness.newest_ms.get(market, 0))
        _logger.warning("%s: %s", what, step.value)
        self._wrong["quotes"] = f"{what}; step taken: {step.value}"
        self._report_how_it_is()
        if step is Step.RESUBSCRIBE:
            await self._resubscribe(
                link, {market: codes for market, codes in self._by_market().items() if market in stale}
            )
        elif step is Step.RECONNECT:
            raise LinkLost(what)
        else:
            raise ProcessMustEnd(f"{what}, and neither a new subscription nor a new connection helped")

    async def _resubscribe(self, link: Link, codes: Mapping[str, list[str]]) -> None:
        for market in codes:
            await link.listen_to(market, codes[market])
        await link.begin_again(codes.keys())
        await self._baseline(link, codes)

    async def _baseline(self, link: Link, codes: Mapping[str, list[str]]) -> None:
        """The newest tick of every instrument: whole quotes bring what changes from now on."""
        wanted = [code for market in codes for code in codes[market]]
        self._counts["baselines"] += 1
        recv_us = time.time_ns() // 1000

        def take(ticks: Mapping[str, Any]) -> None:
            self._judge_unit(ticks)
            self._deliver("tick", self.normaliser.take_state(ticks, frozenset(wanted)), recv_us, is_state=True)

        try:
            await link.baseline(wanted, take)
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:  # the terminal may answer with what is no JSON; what is subscribed goes on
            _logger.warning("the newest ticks could not be asked for: %s", error)
            self._counts["baselines failed"] += 1

    async def _meet_wishes(self, link: Link) -> None:
        plan = self._wanting.plan(self._reference)
        for key in plan.end:
            await link.end(key)
        for key in plan.begin:
            refusal = await link.begin(key)
            if refusal:
                self._wanting.fail(key, refusal)
        self._counts["single subscriptions evicted"] = self._wanting.evicted
        refusals = self._wanting.refusals_to_tell()
        if refusals is not None:
            self._sink.tell(refusals)

    async def _renew(self, link: Link, terminal: Terminal, owner: Owner) -> Reference:
        """The morning: sectors and calendar are asked for again, and the new lists subscribed."""
        reference = await ask_sectors(owner, terminal, self._options, self.now_ms())
        before = self._by_market()
        self._take_sectors(reference)
        codes = self._by_market()
        for market in [market for market in before if market not in codes]:
            await link.listen_to(market, ())
        await self._resubscribe(link, codes)
        self._counts["refreshed"] += 1
        return reference

    async def _try_out(self, terminal: Terminal, owner: Owner) -> None:
        """Before the open: a terminal that answers for none of some instruments is connected to anew."""
        codes = [code for codes in self._by_market().values() for code in codes][:PROBED]
        self._counts["probes"] += 1
        try:
            ticks = await owner.call(terminal.full_tick, codes)
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:
            ticks, why = {}, str(error)
        else:
            why = "it has no tick of any instrument"
        if codes and not ticks:
            self._counts["probes failed"] += 1
            raise LinkLost(f"the terminal was tried out before the open, and {why}")
        _logger.info("the terminal was tried out before the open: it answers")

    # What is heard

    def _hear(self, heard: Heard) -> None:
        """Take what a callback said, on the event loop."""
        if isinstance(heard.topic, LinkSaid):
            self._hear_of_link(heard.topic, heard.said)
            return
        listening = heard.topic
        if not isinstance(listening, Listening) or self._link is None or not self._link.is_current(listening):
            self._counts["callbacks of ended subscriptions"] += 1
            return
        self._counts["callbacks"] += 1
        if listening.channel == "tick" and not self._is_unit_judged:
            self._judge_unit(self.normaliser.decoded(heard.said))
        state, live = self.normaliser.take(listening, heard.said)
        self._deliver(listening.channel, state, heard.recv_us, is_state=True)
        self._deliver(listening.channel, live, heard.recv_us, is_state=False)

    def _hear_of_link(self, link: LinkSaid, said: Any) -> None:
        said = self.normaliser.decoded(said)
        state = said.get("status") if isinstance(said, Mapping) else None
        where = f" {said['address']}" if isinstance(said, Mapping) and said.get("address") else ""
        _logger.info("%s%s is %s", link.link, where, state)
        if link == QUOTE_SERVER:
            self._counts[f"quote server {state}"] += 1
            if state == "connected":
                if self._wrong.pop(link.link, None) is not None:
                    self._said.append(f"the terminal has a quote server again{where}")
            else:
                self._wrong[link.link] = f"the terminal has lost its quote server{where}"
        else:
            self._counts[f"terminal {state}"] += 1
        self._wake()

    def _deliver(self, channel: str, rows: list[Row], recv_us: int, *, is_state: bool) -> None:
        if not rows:
            return
        if channel == "tick":
            now_ms = self.now_ms()
            for market, (count, newest_ms) in newest_by_market(rows).items():
                if self._liveness.note(market, count, newest_ms, now_ms):
                    self._tell_missed(market, rows)
        self._sink.deliver(Batch(channel, rows, recv_us, is_state=is_state))

    def _tell_missed(self, market: str, rows: list[Row]) -> None:
        """Quotes of a market had stopped: what came meanwhile is missing, on every channel."""
        from_ms = self._missed.pop(market, None)
        if from_ms is None or self._link is None:
            return
        to_ms = min(row[1] for row in rows if row[0].endswith(f".{market}") and row[1] > from_ms)
        held = {channel for channel, code in self._link.held if code.endswith(f".{market}")}
        for channel in sorted(held | {"tick"}):
            self._sink.interrupt(Interruption(f"{channel}:*.{market}", from_ms or None, to_ms))

    def _judge_unit(self, ticks: Any) -> None:
        """Once: find out what the volumes are in."""
        if self._is_unit_judged or not isinstance(ticks, Mapping):
            return
        verdict = judge(ticks.items())
        if verdict is None:
            return
        self._is_unit_judged = True
        if verdict.unit is None:
            self._wrong["volume"] = (
                f"volumes are neither hands nor shares: amount / (volume * price) is {verdict.ratio:.3g} "
                f"in the median of {verdict.stocks} stocks"
            )
            _logger.error("%s", self._wrong["volume"])
            return
        self.normaliser.unit = verdict.unit
        if verdict.unit is VolumeUnit.SHARES:
            _logger.warning("the terminal gives volumes in shares: they are converted to hands")
            self._counts["volumes in shares"] = 1

    # What is known

    def _by_market(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for code in () if self._reference is None else self._reference.codes:
            found.setdefault(code[code.rfind(".") + 1 :], []).append(code)
        return found

    def _take_sectors(self, reference: Reference) -> None:
        """Take what was asked for, as far as it was answered; instruments are still those of before."""
        missing = [name for name in self._options.sectors if name not in reference.sectors]
        before = self._reference
        if before is not None:
            known = {name: before.sectors[name] for name in missing if name in before.sectors}
            reference = msgspec.structs.replace(
                reference,
                day=before.day,
                sectors=known | reference.sectors,
                instruments=before.instruments,
                trading_days=reference.trading_days or before.trading_days,
                holidays=reference.holidays or before.holidays,
            )
        self._wrong.pop("sectors", None)
        if missing:
            self._wrong["sectors"] = (
                f"the terminal has no instruments in {', '.join(missing)}: download the sector data there, or "
                "name other sectors (xtquant_sectors)"
            )
            _logger.error("%s", self._wrong["sectors"])
        self._reference = reference
        self._know()
        self._tell_reference()

    def _take_reference(self, reference: Reference) -> None:
        assert self._reference is not None  # noqa: S101 - sectors come first
        self._reference = msgspec.structs.replace(self._reference, day=reference.day, instruments=reference.instruments)
        self._file.write(self._reference)
        self._know()
        self._tell_reference()

    def _know(self) -> None:
        if self._reference is not None:
            self.normaliser.know(self._reference.digits)
            self._liveness.know(self._reference.known_days)
            self._liveness.watch(self._reference.markets, self.now_ms())

    # What is told

    def _tell_reference(self) -> None:
        if self._reference is not None:
            instruments = [msgspec.to_builtins(instrument) for instrument in self._reference.instruments]
            self._sink.tell(ReferenceData(instruments, {**self._reference.universes, **self._reference.sectors}))

    def _tell_figures(self) -> None:
        now_s = self._monotonic_s()
        if now_s - self._told_figures_s >= FIGURES_S:
            self._told_figures_s = now_s
            dropped = {f"row left out, {cause}": count for cause, count in self.normaliser.dropped.items()}
            self._sink.tell(Figures({**self._counts, **dropped}))

    def _report_how_it_is(self) -> None:
        if self._wrong:
            self._report(SourceState.DEGRADED, "; ".join(self._wrong.values()))
        else:
            self._report(SourceState.CONNECTED, "")

    def _report(self, state: SourceState, reason: str) -> None:
        status = SourceStatus(state, reason)
        if status != self._told:
            self._told = status
            self._sink.report(status)

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken.set()


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _age(age_ms: int | None) -> str:
    return "none yet" if age_ms is None else f"{age_ms / 1000:.0f} s old"
