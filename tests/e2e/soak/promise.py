"""What one connection was sent, held against the promise: rows and announced gaps together are the whole stream.

It knows nothing of what the right rows are, only that none may be missing, doubled or out of order, and that nothing
comes which was not asked for. So it costs little, and any number of clients can be checked for as long as one likes.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.support.model import covers
from tests.e2e.support.plain_client import Control, Data, Message


@dataclass
class _Replay:
    """A replay under way. ``by_time``: between two times, so that rows which came late may be left out of it."""

    by_time: bool
    begin: int | None
    newest: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    gaps: int = 0


class Promise:
    """One connection. Fails at the first message that breaks the promise.

    ``conflated``: its subscriptions are of mode latest, so that live rows may jump.
    """

    def __init__(self, *, conflated: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        """What came: rows by origin, gaps by cause, other messages by type."""
        self.time_ms = 0
        """Newest exchange time of any row."""
        self.replays: dict[Any, _Replay] = {}
        """The replays under way."""
        self._conflated = conflated
        self._asked: dict[Any, Control] = {}
        self._held: dict[str, bool] = {}  # whether its topics begin with the oldest row
        self._newest: dict[str, int] = {}

    @property
    def held(self) -> list[str]:
        """The topic strings that the hub has confirmed, without those that it was asked to drop."""
        dropped = {topic for asked in self._asked.values() if asked["op"] == "unsubscribe" for topic in asked["topics"]}
        return [topic for topic in self._held if topic not in dropped]

    def sent(self, request: Control) -> None:
        """Note a request, before it is sent."""
        self._asked[request["id"]] = request
        if request["op"] == "replay":
            begin = request.get("from")
            seq = begin["seq"] if isinstance(begin, dict) else 1
            by_time = isinstance(begin, int)
            self.replays[request["id"]] = _Replay(by_time, None if by_time else seq)

    def take(self, message: Message) -> None:
        """Check one message."""
        if isinstance(message, Data):
            self.counts[message.origin] += len(message.rows)
            if message.origin == "snapshot" and self._asked.get(message.id, {}).get("op") == "snapshot":
                return  # once and beside everything else
            for row in message.rows:
                self._take_row(message, f"{message.channel}:{row[0]}", row[1])
                self.time_ms = max(self.time_ms, row[2])
            return
        kind = message["type"]
        self.counts[f"gap {message['cause']}" if kind == "gap" else kind] += 1
        if kind == "gap":
            self._take_gap(message)
        elif kind not in ("heartbeat", "slow"):
            self._take_reply(message)

    def _take_row(self, message: Data, topic: str, seq: int) -> None:
        replay = self.replays.get(message.id) if message.origin == "replay" else None
        if replay is not None:
            self._take_replayed(replay, topic, seq)
            return
        before = self._newest.get(topic)
        if before is None:
            whole = self._is_whole(topic)
            assert whole is not None, f"{topic} {seq} ({message.origin}, id {message.id}) came and is not subscribed"
            assert seq == 1 or not whole, f"{topic} began with {seq} instead of the oldest row"
        elif self._conflated and message.origin == "live":
            assert seq > before, f"{topic}: {seq} after {before}"
        else:
            assert seq == before + 1, f"{topic}: {seq} after {before} ({message.origin}, id {message.id})"
        self._newest[topic] = seq

    @staticmethod
    def _take_replayed(replay: _Replay, topic: str, seq: int) -> None:
        before = replay.newest.get(topic)
        if before is None:
            assert replay.begin in (None, seq), f"the replay of {topic} began with {seq}"
        elif replay.by_time:
            assert seq > before, f"the replay of {topic} went from {before} to {seq}"
        else:
            assert seq == before + 1, f"the replay of {topic} went from {before} to {seq}"
        replay.newest[topic] = replay.last[topic] = seq
        replay.first.setdefault(topic, seq)
        replay.rows += 1

    def _take_gap(self, gap: Control) -> None:
        assert gap["cause"] in ("evicted", "upstream"), f"nothing that this hub went through explains {gap}"
        if gap["cause"] == "upstream":
            assert (gap["from"], gap["to"]) == (None, None), gap
            return
        replay = self.replays.get(gap.get("id"))
        if replay is not None:
            newest = replay.newest
            replay.gaps += 1
        else:
            newest = self._newest
            assert self._is_whole(gap["topic"]) is not None, f"{gap} came and is not subscribed"
        before = newest.get(gap["topic"])
        assert gap["from"] <= gap["to"], gap
        jumped = self._conflated and before is not None and gap["from"] > before
        assert before is None or gap["from"] == before + 1 or jumped, f"{gap} after {before}"
        newest[gap["topic"]] = gap["to"]

    def _take_reply(self, reply: Control) -> None:
        request = self._asked.pop(reply["id"])
        kind, op = reply["type"], request["op"]
        if kind == "error":
            # The replay had ended before the hub heard that it should.
            assert op == "cancel", f"{request} was answered {reply}"
        elif op == "subscribe":
            assert kind == "subscribed", reply
            # What another subscription covers already has no history of its own.
            whole = request.get("since") == {"time": 0} and not self._held
            self._held.update({topic: whole for topic in request["topics"] if topic not in self._held})
        elif op == "unsubscribe":
            assert kind == "unsubscribed", reply
            for topic in request["topics"]:
                del self._held[topic]
            self._newest = {topic: seq for topic, seq in self._newest.items() if self._is_whole(topic) is not None}
        elif op == "cancel":
            assert kind == "cancelled", reply
            self.replays.pop(request["replay"], None)
            self._asked.pop(request["replay"], None)
        elif op == "replay":
            assert kind == "replay_done", reply
            replay = self.replays.pop(reply["id"])
            assert reply["count"] == replay.rows, f"{replay.rows} rows came before {reply['count']} were said to be all"
            assert reply["complete"] == (replay.gaps == 0), f"{replay.gaps} gaps came, and complete {reply['complete']}"
            ends = {topic: (end["first"], end["last"]) for topic, end in reply["topics"].items()}
            assert ends == {topic: (first, replay.last[topic]) for topic, first in replay.first.items()}
        else:
            assert kind == f"{op}_done", f"{request} was answered {reply}"

    def _is_whole(self, topic: str) -> bool | None:
        """Whether a topic begins with its oldest row; None where no subscription covers it."""
        return next((whole for pattern, whole in self._held.items() if covers(pattern, topic)), None)
