"""One connection to the terminal: what is subscribed on it, and what comes of it.

Ticks come by whole quotes of explicit lists, one for each market, never by the bare names of markets, which would bring
ten thousands of bonds. Everything else is a single subscription for each instrument and channel.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from bridge.xtquant.inbox import Inbox
from bridge.xtquant.owner import CallTimeout, Owner
from bridge.xtquant.terminal import LinkLost, Terminal
from bridge.xtquant.words import Key, Listening

BASELINE_CODES: Final = 1000
"""Instruments whose newest tick is asked for at once."""

_logger = logging.getLogger("argus.xtquant")


class Link:
    """The subscriptions of one connection. Every method may raise LinkLost and CallTimeout."""

    def __init__(self, terminal: Terminal, owner: Owner, inbox: Inbox, counts: Counter[str]) -> None:
        self._terminal = terminal
        self._owner = owner
        self._inbox = inbox
        self._counts = counts
        self._whole: dict[str, Listening] = {}
        self._single: dict[Key, Listening] = {}

    @property
    def held(self) -> Iterable[Key]:
        """The single subscriptions that there are."""
        return self._single.keys()

    def is_current(self, listening: Listening) -> bool:
        """Whether a subscription has not been ended, or made again since."""
        if listening in self._whole.values():
            return True
        return any(self._single.get((listening.channel, code)) is listening for code in listening.codes)

    async def listen_to(self, market: str, codes: Sequence[str]) -> None:
        """Subscribe the ticks of a market anew, in the place of what was subscribed of it."""
        before = self._whole.pop(market, None)
        if before is not None:
            await self._end(before)
        if not codes:
            return
        listening = Listening("tick", frozenset(codes))
        self._whole[market] = listening  # before the call: its first rows may come before it returns
        callback = self._inbox.listener(listening)
        listening.number = await self._owner.call(self._terminal.subscribe_whole, codes, callback)
        if listening.number <= 0:
            raise LinkLost(f"the terminal did not take the subscription of {len(codes)} ticks of {market}")

    async def begin(self, key: Key) -> str:
        """Begin a single subscription. Returns why the terminal did not take it; empty where it did."""
        channel, code = key
        listening = Listening(channel, frozenset((code,)))
        self._single[key] = listening
        callback = self._inbox.listener(listening)
        try:
            listening.number = await self._owner.call(self._terminal.subscribe, code, channel, callback)
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:  # xtdata raises a bare Exception for a period or a code that it does not know
            refusal = str(error)
        else:
            refusal = "" if listening.number > 0 else f"it answered {listening.number}"
        if refusal:
            del self._single[key]
            self._counts["single subscriptions refused"] += 1
        return refusal

    async def end(self, key: Key) -> None:
        """End a single subscription."""
        listening = self._single.pop(key, None)
        if listening is not None:
            await self._end(listening)

    async def begin_again(self, markets: Iterable[str]) -> None:
        """Make the single subscriptions of some markets anew."""
        for key in [key for key in self._single if key[1].rpartition(".")[2] in markets]:
            await self.end(key)
            await self.begin(key)

    async def baseline(self, codes: Sequence[str], take: Callable[[Mapping[str, Any]], None]) -> None:
        """Ask for the newest tick of instruments, some at a time, and hand each answer on."""
        for start in range(0, len(codes), BASELINE_CODES):
            take(await self._owner.call(self._terminal.full_tick, codes[start : start + BASELINE_CODES]))

    async def _end(self, listening: Listening) -> None:
        try:
            await self._owner.call(self._terminal.unsubscribe, listening.number)
        except (LinkLost, CallTimeout):
            raise
        except Exception as error:  # whatever it says, nothing of it is listened to any more
            _logger.warning("subscription %d could not be ended: %s", listening.number, error)
