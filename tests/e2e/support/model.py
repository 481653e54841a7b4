"""What the contract says that a client must have received, written down a second time and much simpler than the hub.

``Truth`` is the whole stream as one reference client saw it from the hub's first row on. ``check_transcript`` walks
through what another client sent and received, and fails at the first message that the contract does not explain.
"""

import re
from bisect import bisect_right
from dataclasses import astuple, dataclass, field
from datetime import date, datetime
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.e2e.support.plain_client import Control, Data, Message, Row

_EXCHANGE_TIME: Final = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, at its place in a client's transcript."""

    request: Control


Event = Sent | Control | Data
"""One thing in a client's transcript: a request that it sent or a message that it received, in order."""


@dataclass
class Topic:
    """One topic's rows in order, each with its place ``at`` in the whole hub's order of arrival."""

    rows: list[Row] = field(default_factory=list)
    ats: list[int] = field(default_factory=list)

    def arrived_by(self, at: int) -> int:
        """How many of the rows had arrived when the hub had numbered ``at`` rows."""
        return bisect_right(self.ats, at)


@dataclass
class Truth:
    """Every row of the hub, in order of arrival: row ``n`` (from 0) has ``at`` n + 1."""

    topics: dict[str, Topic] = field(default_factory=dict)
    at: int = 0

    def add(self, channel: str, rows: list[Row]) -> None:
        """Take rows in order of arrival. ``seq`` must be contiguous from 1 in each topic."""
        for row in rows:
            self.at += 1
            topic = self.topics.setdefault(f"{channel}:{row[0]}", Topic())
            assert row[1] == len(topic.rows) + 1, f"{row[0]}: seq {row[1]} follows {len(topic.rows)}"
            topic.rows.append(row)
            topic.ats.append(self.at)

    def newest(self, pattern: str) -> dict[str, Row]:
        """The newest row of each topic that a pattern covers."""
        return {name: topic.rows[-1] for name, topic in self.topics.items() if covers(pattern, name)}


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))


def covers(pattern: str, topic: str) -> bool:
    """Whether a topic is an exact name or matches a pattern with ``*``."""
    return _expression(pattern).fullmatch(topic) is not None


def day_of(time_ms: int) -> date:
    """The exchange's calendar day of a row's ``time``."""
    return datetime.fromtimestamp(time_ms / 1000, _EXCHANGE_TIME).date()


@dataclass
class _Span:
    """What one client still has to get of one topic: rows from index ``following`` on, history up to ``live_from``."""

    following: int
    live_from: int
    request_id: Any
    origin: str


@dataclass
class Tally:
    """What a transcript held, so that a test can prove that it tested something."""

    snapshot_rows: int = 0
    replayed_rows: int = 0
    live_rows: int = 0
    subscribed: int = 0
    unsubscribed: int = 0
    heartbeats: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))


class _Checker:
    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.tally = Tally()
        self.requests: dict[Any, Control] = {}
        self.patterns: set[str] = set()
        self.spans: dict[str, _Span] = {}
        self.delivered_at = 0
        self.complete_at = 0

    def received(self, message: Message) -> None:
        if isinstance(message, Data):
            for row in message.rows:
                self.row(message, row)
        elif message["type"] == "subscribed":
            self.subscribed(message)
        elif message["type"] == "unsubscribed":
            self.unsubscribed(message)
        elif message["type"] == "heartbeat":
            self.tally.heartbeats += 1
            self.everything_was_sent_up_to(message["at"])
        else:
            assert message["type"] in ("welcome", "pong"), f"nobody asked for {message}"

    def subscribed(self, reply: Control) -> None:
        request = self.requests.pop(reply["id"])
        cut = reply["at"]
        assert cut >= self.delivered_at, f"the cut {cut} lies before a row that was already delivered"
        self.tally.subscribed += 1
        self.patterns.update(request["topics"])
        matched = history = 0
        for name, topic in self.truth.topics.items():
            if not any(covers(pattern, name) for pattern in request["topics"]):
                continue
            held = topic.arrived_by(cut)
            matched += held > 0
            if name not in self.spans:
                first = _first_of_history(topic, held, request.get("since"), day_of(self._newest_time(cut)))
                origin = "replay" if "since" in request else "snapshot"
                self.spans[name] = _Span(first, held, reply["id"], origin)
                history += held - first
        if history:
            # The client stands behind the new topics' history again until that has come.
            self.complete_at = 0
        replayed = history if "since" in request else 0
        counts = {"matched": matched, "recovered": True, "unrecovered": [], "replayed": replayed}
        assert {name: reply[name] for name in counts} == counts, f"{request} was answered {reply}"

    def _newest_time(self, cut: int) -> int:
        """Exchange time of the newest row at the cut: its day is the source's current trading day."""
        times = [topic.rows[held - 1][2] for topic in self.truth.topics.values() if (held := topic.arrived_by(cut))]
        return int(max(times, default=0))

    def unsubscribed(self, reply: Control) -> None:
        self.tally.unsubscribed += 1
        self.everything_was_sent_up_to(self.complete_at)
        self.patterns.difference_update(self.requests.pop(reply["id"])["topics"])
        covered = {name for name in self.spans if any(covers(pattern, name) for pattern in self.patterns)}
        self.spans = {name: span for name, span in self.spans.items() if name in covered}

    def row(self, message: Data, row: Row) -> None:
        name = f"{message.channel}:{row[0]}"
        assert name in self.spans, f"{name} is not subscribed, yet {row} came"
        span, topic = self.spans[name], self.truth.topics[name]
        assert span.following < len(topic.rows), f"{name} has no row after its newest, yet {row} came"
        due = topic.rows[span.following]
        assert row == due, f"{name}: {row} came where {due} was due"
        if span.following < span.live_from:
            label = (message.origin, message.id)
            assert label == (span.origin, span.request_id), f"{label} on {row}, which is history of {span}"
            self.tally.snapshot_rows += span.origin == "snapshot"
            self.tally.replayed_rows += span.origin == "replay"
        else:
            assert (message.origin, message.id) == ("live", None), f"{message.origin}, {message.id} on live {row}"
            at = topic.ats[span.following]
            assert at > self.delivered_at, f"{row} (at {at}) came after the row with at {self.delivered_at}"
            self.delivered_at = self.complete_at = at
            self.tally.live_rows += 1
        span.following += 1

    def everything_was_sent_up_to(self, at: int) -> None:
        """No row of an observed topic that arrived by ``at`` is missing."""
        assert at <= self.truth.at, f"at {at} is above the newest row's {self.truth.at}"
        for name, span in self.spans.items():
            topic = self.truth.topics[name]
            assert span.following >= topic.arrived_by(at), f"{name}: {topic.rows[span.following]} is missing at {at}"
        self.delivered_at = max(self.delivered_at, at)
        self.complete_at = max(self.complete_at, at)


def _first_of_history(topic: Topic, held: int, since: Any, trading_day: date) -> int:
    """Index of the first row that a new subscription is owed when ``held`` rows exist."""
    if since is None:
        return max(held - 1, 0)
    if since == "none":
        return held
    if since == "open":
        return next((n for n in range(held) if day_of(topic.rows[n][2]) >= trading_day), held)
    return next((n for n in range(held) if topic.rows[n][2] >= since["time"]), held)


def check_transcript(truth: Truth, transcript: list[Event]) -> Tally:
    """Fail unless every message is what the contract says, each row is due just there, and none is missing.

    A transcript proves completeness up to its last heartbeat: end it with one whose ``at`` is late enough.
    """
    checker = _Checker(truth)
    for event in transcript:
        if isinstance(event, Sent):
            checker.requests[event.request["id"]] = event.request
        else:
            checker.received(event)
    return checker.tally
