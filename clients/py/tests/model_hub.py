"""A hub in miniature, without a socket: what the contract promises of a stream, in the fewest lines.

It keeps a log of rows and notices, and gives one client what it asks for: gaps, snapshot or history, then what is
published, in stream order. What it has queued goes out one message at a time, so that a test can cut anywhere.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fake_hub import TICK_FIELDS, WELCOME, tick

from argus_client.messages import Data, Gap, Heartbeat, Message, Reply, Subscribed, Welcome, parse
from argus_client.rows import Origin, Schemas

SCHEMAS = Schemas({"tick": TICK_FIELDS})
HISTORY_ROWS = 2
"""Rows of history in one message."""


def epoch_name(number: int) -> str:
    return f"{number:016x}"


@dataclass
class Entry:
    """A row of the log, or a notice that has its place behind row ``at``."""

    at: int
    code: str
    seq: int = 0
    time: int = 0


@dataclass
class ModelHub:
    """The log of one epoch, and the only client's connection."""

    epoch: int = 1
    at: int = 0
    log: list[Entry] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    spoke_at: dict[str, int] = field(default_factory=dict)
    evicted: dict[str, Entry] = field(default_factory=dict)
    published: dict[tuple[int, str, int], int] = field(default_factory=dict)
    outages: int = 0
    connection: "Connection | None" = None

    def publish(self, code: str) -> None:
        """A row of a topic."""
        self.at += 1
        self.newest[code] = self.newest.get(code, 0) + 1
        self.spoke_at[code] = self.at
        entry = Entry(self.at, code, self.newest[code], time=self.at)
        self.published[self.epoch, code, entry.seq] = self.at
        self.log.append(entry)
        if self.connection is not None:
            self.connection.live(entry)

    def outage(self) -> None:
        """A notice of the source, of all topics."""
        self.outages += 1
        entry = Entry(self.at, "*", time=self.outages)
        self.log.append(entry)
        if self.connection is not None:
            self.connection.live(entry)

    def evict(self, count: int) -> None:
        """Let go of the oldest rows; notices stay."""
        for entry in [entry for entry in self.log if entry.seq][:count]:
            self.evicted[entry.code] = entry
            self.log.remove(entry)

    def begin_anew(self) -> None:
        """Lose all history."""
        self.epoch, self.at = self.epoch + 1, 0
        self.log.clear()
        self.newest.clear()
        self.spoke_at.clear()
        self.evicted.clear()


class Connection:
    """What the client of a connection is still to be sent."""

    def __init__(self, hub: ModelHub) -> None:
        self.hub = hub
        self.queue: deque[tuple[int, Message]] = deque()
        self.codes: set[str] = set()
        self.everything = False
        hub.connection = self

    def welcome(self) -> Welcome:
        """The first message."""
        message = parse({"type": "welcome", **WELCOME, "epoch": epoch_name(self.hub.epoch), "at": self.hub.at})
        assert isinstance(message, Welcome)
        return message

    def next(self) -> Message | None:
        """The next message of the stream."""
        return self.queue.popleft()[1] if self.queue else None

    def beat(self) -> Heartbeat:
        """A heartbeat at this place of the stream: every row up to ``at`` was sent before."""
        return Heartbeat(time=1, at=min([self.hub.at, *(at for at, _ in self.queue)]), conflated=0, markets={})

    def observes(self, code: str) -> bool:
        return self.everything or code in self.codes

    def live(self, entry: Entry) -> None:
        """Send what was published."""
        if entry.seq == 0:
            if self.everything or self.codes:
                self.queue.append((entry.at, self._notice(entry, None)))
        elif self.observes(entry.code):
            self.queue.append((entry.at - 1, self._rows([entry], "live", None)))

    def receive(self, request: Mapping[str, Any]) -> None:
        """Answer a subscribe: of exact topics, or of all."""
        assert request["op"] == "subscribe"
        hub, since, request_id = self.hub, request.get("since"), request["id"]
        codes = [topic.partition(":")[2] for topic in request["topics"]]
        asked = set(hub.newest) if codes == ["*"] else {code for code in codes if code in hub.newest}
        fresh = sorted(code for code in asked if not self.observes(code))
        gaps, firsts, snapshot = self._beginnings(fresh, since)
        notices_from = None if since in (None, "none") else 0
        if isinstance(since, Mapping) and "epoch" in since:
            knows = since["epoch"] == epoch_name(hub.epoch)
            notices_from = since.get("at") if knows and since.get("at", 0) <= hub.at else None
            gaps += self._never_spoke(since, codes)
        history = [
            entry
            for entry in hub.log
            if (entry.seq and entry.code in firsts and entry.seq >= firsts[entry.code])
            or (not entry.seq and notices_from is not None and entry.at >= notices_from)
        ]
        self.everything |= codes == ["*"]
        self.codes.update(codes)
        replayed = sum(1 for entry in history if entry.seq)
        unrecovered = list(dict.fromkeys(gap.topic for gap in gaps))
        reply = Subscribed(hub.at, len(asked), not gaps, unrecovered, replayed)
        to_come = [entry.at - 1 for entry in history if entry.seq] + [hub.spoke_at[code] - 1 for code in snapshot]
        before = min([self.beat().at, *to_come])
        self.queue.append((before, Reply(request_id, reply)))
        self.queue.extend((before, replace(gap, request_id=request_id)) for gap in gaps)
        if snapshot:
            rows = [Entry(0, code, hub.newest[code]) for code in snapshot]
            self.queue.append((before, self._rows(rows, "snapshot", request_id)))
        self._replay(history, request_id)

    def _beginnings(self, fresh: list[str], since: Any) -> tuple[list[Gap], dict[str, int], list[str]]:
        """What is lost, the first number of each topic's history, and which get a snapshot."""
        hub = self.hub
        if since is None:
            return [], {}, fresh
        gaps: list[Gap] = []
        firsts: dict[str, int] = {}
        snapshot: list[str] = []
        for code in fresh:
            gone = hub.evicted.get(code, Entry(0, code))
            held = gone.seq + 1
            rows = [entry for entry in hub.log if entry.code == code]
            if since == "none":
                continue
            if since == "open" or "time" in since:
                first = next((row.seq for row in rows if since == "open" or row.time >= since["time"]), None)
                begin = hub.newest[code] + 1 if first is None else first
                if held > 1 and (since == "open" or gone.time >= since["time"]):
                    gaps.append(self._evicted(code, 1, held - 1))
                firsts[code] = begin
                continue
            known, last = since["epoch"] == epoch_name(hub.epoch), since["seq"].get(f"tick:{code}")
            at = since.get("at")
            if not known or (last or 0) > hub.newest[code] or (last is None and at is not None and at > hub.at):
                gaps.append(self._lost(f"tick:{code}", since["epoch"], last))
                snapshot.append(code)
            elif last is not None:
                if last + 1 < held:
                    gaps.append(self._evicted(code, last + 1, held - 1))
                firsts[code] = max(last + 1, held)
            elif at is None:
                snapshot.append(code)
            else:
                firsts[code] = next((row.seq for row in rows if row.at > at), hub.newest[code] + 1)
                if gone.at > at:
                    gaps.append(self._evicted(code, 1, held - 1))
        return gaps, firsts, snapshot

    def _never_spoke(self, since: Mapping[str, Any], codes: list[str]) -> list[Gap]:
        """What is lost of a position's topics that have said nothing in this epoch."""
        named = {topic.partition(":")[2]: last for topic, last in since["seq"].items()}
        silent = [code for code in named if code not in self.hub.newest and not self.observes(code)]
        return [self._lost(f"tick:{code}", since["epoch"], named[code]) for code in silent]

    def _replay(self, history: list[Entry], request_id: object) -> None:
        rows: list[Entry] = []
        for entry in [*history, None]:
            if rows and (entry is None or not entry.seq or len(rows) == HISTORY_ROWS):
                self.queue.append((rows[0].at - 1, self._rows(rows, "replay", request_id)))
                rows = []
            if entry is not None and entry.seq:
                rows.append(entry)
            elif entry is not None:
                self.queue.append((entry.at, self._notice(entry, request_id)))

    def _rows(self, entries: list[Entry], origin: Origin, request_id: Any) -> Data:
        values = [
            list(tick(entry.code, entry.seq, time=entry.time, volume=self.hub.epoch).values()) for entry in entries
        ]
        return Data(origin, SCHEMAS.rows("tick", origin, values), request_id)

    def _notice(self, entry: Entry, request_id: Any) -> Gap:
        epoch = epoch_name(self.hub.epoch)
        return Gap("tick:*", epoch, None, None, entry.time, entry.time + 1, "upstream", None, request_id)

    def _evicted(self, code: str, first: int, last: int) -> Gap:
        return Gap(f"tick:{code}", epoch_name(self.hub.epoch), first, last, None, None, "evicted", None)

    def _lost(self, topic: str, epoch: str, last: int | None) -> Gap:
        return Gap(topic, epoch, None if last is None else last + 1, None, None, None, "epoch", None)
