"""The terminal as a source of the hub: connects, listens, notices when quotes stop, and does something about it."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Final, NoReturn

from bridge.source import Figures, ProcessMustEnd, Sink, SourceState, SourceStatus
from bridge.xtquant.asking import ask_instruments, ask_sectors
from bridge.xtquant.codes import STOCK, kind_of
from bridge.xtquant.hearing import QUOTE_SERVER, TERMINAL, Hearing
from bridge.xtquant.inbox import Inbox
from bridge.xtquant.knowing import Knowing
from bridge.xtquant.ladder import Ladder, Step
from bridge.xtquant.link import Link
from bridge.xtquant.liveness import Liveness
from bridge.xtquant.morning import Daily
from bridge.xtquant.normaliser import Normaliser
from bridge.xtquant.options import Options
from bridge.xtquant.owner import CallTimeout, Owner
from bridge.xtquant.package import PackageError
from bridge.xtquant.reference import Reference
from bridge.xtquant.terminal import TOKEN_MODE_TIMEOUT_S, LinkLost, Terminal, Unreachable
from bridge.xtquant.troubles import Troubles
from bridge.xtquant.wanting import Wanting
from hub.schema import CHANNELS, STATUS

LOOK_S: Final = 0.5
FIGURES_S: Final = 2.0
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0
"""Between attempts to connect."""
WENT_WELL_S: Final = 30.0
"""After a connection of this length, a loss is a new mishap and the pauses begin anew."""
CONNECT_TIMEOUT_S: Final = 60.0
DISCONNECT_TIMEOUT_S: Final = 2.0
JUDGED: Final = 200
"""Stocks by whose volumes and amounts it is judged what volumes are in."""
JUDGE_EVERY_S: Final = 60.0
PROBED: Final = 20
"""Instruments whose newest tick is asked for before the open."""

_logger = logging.getLogger("argus.xtquant")


class XtquantSource:
    """A miniQMT terminal, or xtdatacenter in its place.

    Args:
        now_ms: the wall clock.
        monotonic_s: a clock that never goes back.
        pause_s: how long to wait after so many failures to connect in a row.
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
        pause_s: Callable[[int], float] = lambda failures: min(FIRST_PAUSE_S * 2.0**failures, LAST_PAUSE_S),
    ) -> None:
        self.now_ms = now_ms
        self.looks = 0
        """How often it has looked after everything on a connection."""
        self._options = options
        self._monotonic_s = monotonic_s
        self._pause_s = pause_s
        self._counts: Counter[str] = Counter()
        self._troubles = Troubles()
        self._normaliser = Normaliser(monotonic_s)
        self._liveness = Liveness(options.stale_after_s)
        self._knowing = Knowing(options, self._normaliser, self._liveness, self._troubles, now_ms)
        self._hearing = Hearing(
            self._normaliser, self._liveness, self._troubles, self._counts, now_ms, lambda: self._woken.set()
        )
        self._ladder = Ladder(options.stale_after_s, monotonic_s())
        self._wanting = Wanting(options.max_subscriptions, options.grace_s, monotonic_s)
        self._refresh = Daily(options.refresh_at, self._liveness.calendar)
        self._probe = Daily(options.probe_at, self._liveness.calendar)
        self._woken = asyncio.Event()
        self._sink: Sink
        self._told: SourceStatus | None = None
        self._told_figures_s = monotonic_s()
        self._judge_s = 0.0

    @property
    def trading_days(self) -> frozenset[date] | None:
        """Those that the terminal told, and those up to which it knows the holidays."""
        reference = self._knowing.reference
        return None if reference is None else reference.known_days

    @property
    def markets(self) -> Mapping[str, int]:
        """The markets of the sectors."""
        reference = self._knowing.reference
        return {} if reference is None else reference.markets

    @property
    def wanted(self) -> frozenset[str]:
        """The topics that clients want now."""
        return self._wanting.topics

    def want(self, topics: frozenset[str]) -> None:
        """Take what clients want."""
        self._wanting.topics = topics
        self._woken.set()

    async def run(self, sink: Sink) -> None:
        """Deliver until cancelled. Raises ProcessMustEnd when a call hangs, or nothing else brings quotes back."""
        self._sink = self._hearing.sink = sink
        self._told = None
        owner = Owner()
        inbox = Inbox(self._hearing.hear)
        terminal = Terminal(self._options, inbox.listener(TERMINAL), inbox.listener(QUOTE_SERVER))
        self._report(SourceState.AWAY, "connecting to the terminal")
        self._tell_reference()
        failures = 0
        try:
            while True:
                began_s = self._monotonic_s()
                why = await self._try_once(terminal, owner, inbox)
                failures = 0 if self._monotonic_s() - began_s >= WENT_WELL_S else failures
                self._report(SourceState.AWAY, why)
                self._tell_figures()
                await asyncio.sleep(self._pause_s(failures))
                failures += 1
        except CallTimeout as hung:
            self._report(SourceState.AWAY, str(hung))
            raise ProcessMustEnd(str(hung)) from None
        except ProcessMustEnd as end:
            self._report(SourceState.AWAY, str(end))
            raise
        finally:
            with suppress(CallTimeout):
                await owner.call(terminal.disconnect, timeout_s=DISCONNECT_TIMEOUT_S)
            owner.stop()

    async def _try_once(self, terminal: Terminal, owner: Owner, inbox: Inbox) -> str:
        """Connect, and listen until the connection is lost. Returns why it is not there, or not any more."""
        timeout_s = CONNECT_TIMEOUT_S if self._options.token_mode is None else TOKEN_MODE_TIMEOUT_S
        try:
            address = await owner.call(terminal.connect, timeout_s=timeout_s)
            _logger.info("connected to the terminal at %s", address)
            self._counts["connected"] += 1
            self._normaliser.decode = terminal.decode
            await self._live(Link(terminal, owner, inbox, self._counts), terminal, owner)
        except (CallTimeout, ProcessMustEnd):
            raise
        except (PackageError, Unreachable) as error:
            self._counts["not connected"] += 1
            return f"{error}; trying again"
        except LinkLost as lost:
            self._counts["connection lost"] += 1
            return f"{lost}; connecting again"
        except Exception as error:  # closed source, which raises what it likes, most often a bare Exception
            _logger.exception("xtdata failed")
            self._counts["connection lost"] += 1
            return f"xtdata failed ({type(error).__name__}: {error}); connecting again"
        finally:
            self._hearing.link = None

    # One connection

    async def _live(self, link: Link, terminal: Terminal, owner: Owner) -> NoReturn:
        """Listen on a connection until it is lost, which is raised."""
        self._hearing.link = link
        self._hearing.reasons.clear()
        self._troubles.clear(QUOTE_SERVER.link)
        self._wanting.lose_all()
        asked = await self._ask_sectors(terminal, owner)
        for daily in (self._refresh, self._probe):
            if daily.is_due(self.now_ms()):
                daily.done(self.now_ms())  # by connecting
        self._judge_s = -JUDGE_EVERY_S
        await self._judge_unit(terminal, owner)  # before any row is passed on
        await self._resubscribe(link, self._knowing.by_market)
        self._report_how_it_is()
        ask = partial(ask_instruments, owner, terminal, counts=self._counts)
        asking = asyncio.create_task(ask(asked)) if self._knowing.lacks_instruments(asked) else None
        try:
            while True:
                await self._rest()
                if not await owner.call(terminal.is_connected):
                    raise LinkLost("the connection to the terminal is lost")
                if asking is not None and asking.done():
                    self._knowing.take_instruments(await asking)
                    self._tell_reference()
                    asking = None
                await self._judge_unit(terminal, owner)
                await self._look(link)
                await self._meet_wishes(link)
                if self._refresh.is_due(self.now_ms()) and asking is None:
                    self._refresh.done(self.now_ms())
                    asking = asyncio.create_task(ask(await self._renew(link, terminal, owner)))
                if self._probe.is_due(self.now_ms()):
                    self._probe.done(self.now_ms())
                    await self._try_out(terminal, owner)
                self._tell_figures_now_and_then()
                self.looks += 1
        finally:
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait until there is something to do, for half a second at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._woken.wait()
        self._woken.clear()

    async def _look(self, link: Link) -> None:
        """Judge the age of the data, and take the next step where it is too old."""
        reasons, self._hearing.reasons = self._hearing.reasons, []
        stale = self._liveness.stale(self.now_ms())
        if self._ladder.taken and not stale:
            _logger.info("quotes come again")
            self._counts["healed"] += 1
            self._troubles.clear("quotes")
        step = self._ladder.look(self._monotonic_s(), is_stale=bool(stale), has_brought=self._liveness.has_brought)
        if step is not None:
            await self._climb(link, step, stale)
        elif reasons:
            _logger.warning("%s: everything is subscribed anew", "; ".join(reasons))
            self._counts["subscribed anew"] += 1
            self._hearing.miss(self._knowing.by_market)
            await self._resubscribe(link, self._knowing.by_market)
        self._report_how_it_is()

    async def _climb(self, link: Link, step: Step, stale: Mapping[str, int | None]) -> None:
        """Take a step of the ladder."""
        told = ", ".join(f"{market} ({_age(age_ms)})" for market, age_ms in sorted(stale.items()))
        what = f"quotes have stopped, the newest of {told}"
        self._counts[f"step {step.value}"] += 1
        self._hearing.miss(stale)
        self._troubles.have("quotes", f"{what}; step taken: {step.value}")
        self._report_how_it_is()
        if step is Step.RESTART:
            raise ProcessMustEnd(f"{what}, and neither a new subscription nor a new connection helped")
        if step is Step.RECONNECT:
            raise LinkLost(what)
        by_market = self._knowing.by_market
        await self._resubscribe(link, {market: by_market[market] for market in by_market if market in stale})

    async def _resubscribe(self, link: Link, codes: Mapping[str, list[str]]) -> None:
        """Subscribe these ticks and what else there is of their markets, and ask for the newest tick of each.

        Whole quotes bring what changes from now on, and what they bring at first may not be all.
        """
        for market in codes:
            await link.listen_to(market, codes[market])
        await link.begin_again(codes.keys())
        self._counts["baselines"] += 1
        wanted = [code for market in codes for code in codes[market]]
        recv_us, all_of_them = time.time_ns() // 1000, frozenset(wanted)
        try:
            await link.baseline(wanted, lambda ticks: self._hearing.take_state(ticks, all_of_them, recv_us))
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:  # the terminal may answer with what is no JSON; what is subscribed goes on
            _logger.warning("the newest ticks could not be asked for: %s", error)
            self._counts["baselines failed"] += 1

    async def _meet_wishes(self, link: Link) -> None:
        """Hold the single subscriptions that clients want, and tell which wishes are not met."""
        plan = self._wanting.plan(self._knowing.reference)
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

    async def _ask_sectors(self, terminal: Terminal, owner: Owner) -> Reference:
        asked = await ask_sectors(owner, terminal, self._options, self.now_ms())
        self._knowing.take_sectors(asked)
        self._tell_reference()
        return asked

    async def _renew(self, link: Link, terminal: Terminal, owner: Owner) -> Reference:
        """The morning: sectors and calendar are asked for again, and the new lists subscribed."""
        before = self._knowing.by_market
        asked = await self._ask_sectors(terminal, owner)
        for market in before.keys() - self._knowing.by_market.keys():
            await link.listen_to(market, ())
        await self._resubscribe(link, self._knowing.by_market)
        self._counts["refreshed"] += 1
        return asked

    async def _try_out(self, terminal: Terminal, owner: Owner) -> None:
        """Before the open: a terminal that has no tick of any of some instruments is connected to anew."""
        codes = [code for codes in self._knowing.by_market.values() for code in codes][:PROBED]
        self._counts["probes"] += 1
        why = "it has no tick of any instrument"
        try:
            answers = bool(await owner.call(terminal.full_tick, codes))
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:
            answers, why = False, str(error)
        if codes and not answers:
            self._counts["probes failed"] += 1
            raise LinkLost(f"the terminal was tried out before the open: {why}")
        _logger.info("the terminal was tried out before the open: it answers")

    async def _judge_unit(self, terminal: Terminal, owner: Owner) -> None:
        """Find out what volumes are in, from ticks that are asked for; again where nothing has been traded yet."""
        now_s = self._monotonic_s()
        if self._hearing.is_unit_judged or now_s - self._judge_s < JUDGE_EVERY_S:
            return
        self._judge_s = now_s
        codes = [code for codes in self._knowing.by_market.values() for code in codes if kind_of(code).kind == STOCK]
        try:
            self._hearing.judge_unit(await owner.call(terminal.full_tick, codes[:JUDGED]))
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:
            _logger.warning("the newest ticks could not be asked for: %s", error)

    # What is told

    def _tell_reference(self) -> None:
        told = self._knowing.told()
        if told is not None:
            self._sink.tell(told)

    def _tell_figures_now_and_then(self) -> None:
        if self._monotonic_s() - self._told_figures_s >= FIGURES_S:
            self._tell_figures()

    def _tell_figures(self) -> None:
        self._told_figures_s = self._monotonic_s()
        dropped = {f"row left out, {cause}": count for cause, count in self._normaliser.dropped.items()}
        self._sink.tell(Figures({**self._counts, **dropped}))

    def _report_how_it_is(self) -> None:
        state = SourceState.DEGRADED if self._troubles else SourceState.CONNECTED
        self._report(state, str(self._troubles))

    def _report(self, state: SourceState, reason: str) -> None:
        status = SourceStatus(state, reason)
        if status != self._told:
            self._told = status
            self._sink.report(status)


def _age(age_ms: int | None) -> str:
    return "none yet" if age_ms is None else f"{age_ms / 1000:.0f} s old"
