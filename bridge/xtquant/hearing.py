"""What callbacks say, on its way to the hub: normalised, judged, and told where something is missing before it."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from bridge.source import Batch, Interruption, Sink
from bridge.xtquant.link import Link
from bridge.xtquant.liveness import Liveness
from bridge.xtquant.normaliser import Normaliser, newest_by_market
from bridge.xtquant.troubles import Troubles
from bridge.xtquant.units import VolumeUnit, judge
from bridge.xtquant.words import Heard, LinkSaid, Listening
from hub.schema import Row

TERMINAL: Final = LinkSaid("the terminal")
QUOTE_SERVER: Final = LinkSaid("the quote server")

_logger = logging.getLogger("argus.xtquant")


class Hearing:
    """Hears everything, on the event loop.

    Args:
        wake: called when there is a reason to look at everything at once.
    """

    def __init__(
        self,
        normaliser: Normaliser,
        liveness: Liveness,
        troubles: Troubles,
        counts: Counter[str],
        now_ms: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self.sink: Sink
        self.link: Link | None = None
        """The connection that is listened to; what others say is over."""
        self.is_unit_judged = False
        """Whether it is known what volumes are in, or that they are nothing known."""
        self.reasons: list[str] = []
        """Why everything should be subscribed anew although no market is stale."""
        self._normaliser = normaliser
        self._liveness = liveness
        self._troubles = troubles
        self._counts = counts
        self._now_ms = now_ms
        self._wake = wake
        self._missed: dict[str, int] = {}  # markets whose quotes have stopped, each with its newest time before

    def hear(self, heard: Heard) -> None:
        """Take what a callback said."""
        if isinstance(heard.topic, LinkSaid):
            self._hear_of_link(heard.topic, self._normaliser.decoded(heard.said))
            return
        listening = heard.topic
        if not isinstance(listening, Listening) or self.link is None or not self.link.is_current(listening):
            self._counts["callbacks of ended subscriptions"] += 1
            return
        self._counts["callbacks"] += 1
        state, live = self._normaliser.take(listening, heard.said)
        self._deliver(listening.channel, state, heard.recv_us, is_state=True)
        self._deliver(listening.channel, live, heard.recv_us, is_state=False)

    def take_state(self, ticks: Mapping[str, Any], codes: frozenset[str], recv_us: int) -> None:
        """Take the newest ticks as they were asked for."""
        self._deliver("tick", self._normaliser.take_state(ticks, codes), recv_us, is_state=True)

    def miss(self, markets: Iterable[str]) -> None:
        """Quotes of these markets have stopped: what comes next is behind something that is missing."""
        for market in markets:
            self._missed.setdefault(market, self._liveness.newest_ms.get(market, 0))

    def judge_unit(self, ticks: Mapping[str, Any]) -> None:
        """Find out what the volumes are in, if these ticks tell."""
        verdict = judge(ticks.items())
        if verdict is None:
            return
        self.is_unit_judged = True
        if verdict.unit is None:
            self._troubles.have(
                "volume",
                f"volumes are neither hands nor shares: amount / (volume * price) is {verdict.ratio:.3g} "
                f"in the median of {verdict.stocks} stocks",
            )
            return
        self._normaliser.unit = verdict.unit
        if verdict.unit is VolumeUnit.SHARES:
            _logger.warning("the terminal gives volumes in shares: they are converted to hands")
            self._counts["volumes in shares"] = 1

    def _deliver(self, channel: str, rows: list[Row], recv_us: int, *, is_state: bool) -> None:
        if not rows:
            return
        if channel == "tick":
            now_ms = self._now_ms()
            for market, (count, newest_ms) in newest_by_market(rows).items():
                if self._liveness.note(market, count, newest_ms, now_ms):
                    self._tell_missed(market, rows)
        self.sink.deliver(Batch(channel, rows, recv_us, is_state=is_state))

    def _tell_missed(self, market: str, rows: list[Row]) -> None:
        """What came of a market while its quotes had stopped is missing, on every channel."""
        from_ms = self._missed.pop(market, None)
        if from_ms is None or self.link is None:
            return
        to_ms = min(row[1] for row in rows if row[0].endswith(f".{market}") and row[1] > from_ms)
        held = {channel for channel, code in self.link.held if code.endswith(f".{market}")}
        for channel in sorted(held | {"tick"}):
            self.sink.interrupt(Interruption(f"{channel}:*.{market}", from_ms or None, to_ms))

    def _hear_of_link(self, link: LinkSaid, said: Any) -> None:
        state = said.get("status") if isinstance(said, Mapping) else None
        where = f" {said['address']}" if isinstance(said, Mapping) and said.get("address") else ""
        _logger.info("%s%s is %s", link.link, where, state)
        self._counts[f"{link.link} {state}"] += 1
        if link == QUOTE_SERVER:
            if state != "connected":
                self._troubles.have(link.link, f"the terminal has lost its quote server{where}")
            elif self._troubles.clear(link.link):
                self.reasons.append(f"the terminal has a quote server again{where}")
        self._wake()
