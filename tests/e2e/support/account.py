"""What one client has received, over all its connections, held against everything that was given.

It is the one promise, as a client without any SDK can check it: rows and gaps together are the whole stream, in order,
nothing twice. A client of this kind resumes as the protocol's page says, by what it remembers.
"""

from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.e2e.support.model import covers
from tests.e2e.support.plain_client import Control, Data, Message, PlainClient, Row
from tests.e2e.support.scripted_feeder import Event, Given, Missing

PASSED: frozenset[str] = frozenset({"subscribed", "heartbeat", "slow", "draining", "pong", "replay_done"})


class Account:
    """One client's side of the stream of some topics.

    Args:
        topics: exact names and patterns.
        since: where it begins; None for a snapshot.
    """

    def __init__(self, given: Given, *topics: str, since: Any = None) -> None:
        self.given = given
        self.topics = topics or ("tick:*",)
        self.since = since
        self.events: list[Event] = []
        """Rows of history and live ones, and upstream gaps, as they came."""
        self.snapshot: dict[str, Row] = {}
        self.evicted: list[Control] = []
        self.slow: list[Control] = []
        self.origins: set[str] = set()
        self.conflated = 0
        self.epoch = ""
        self.at: int | None = None
        self.newest: dict[str, int] = {}
        self.is_subscribed = False
        self._begins_again = False
        self._told: set[tuple[str, int]] = set()
        self._gaps: list[Missing] = []  # of this connection
        self._row_count = 0
        self._covered: dict[str, bool] = {}
        self._had: dict[str, int] = {}
        self._cut = self._given_at_cut = 0

    # What it says

    async def subscribe(self, client: PlainClient) -> Control:
        """Subscribe, or go on where it is. Returns the reply."""
        self._gaps = []
        self.is_subscribed = False
        since = self.position() or self.since
        if since is self.since:  # a position leads back to the newest rows of the subscription that it was told on
            self._had = dict(self.given.seqs)
        # Without a heartbeat since the first time, it begins as at first and passes over what it has.
        self._begins_again = bool(self.newest) and since is self.since
        fields = {} if since is None else {"since": since}
        await client.send("subscribe", id="account", topics=list(self.topics), **fields)
        reply: Control = {}
        while reply.get("type") != "subscribed":
            message = await client.receive()
            self.take(message)
            reply = message if isinstance(message, dict) else {}
        self.epoch = client.welcome["epoch"]
        self._cut, self._given_at_cut = reply["at"], self.given.row_count
        return reply

    def position(self) -> Control | None:
        """After what it would go on; None before the first heartbeat that followed its subscription."""
        if self.at is None:
            return None
        return {"epoch": self.epoch, "at": self.at, "seq": {f"tick:{code}": seq for code, seq in self.newest.items()}}

    async def read_rows(self, client: PlainClient, count: int) -> None:
        """Receive until it has so many rows, or more."""
        while self._row_count < count:
            self.take(await client.receive())

    async def read_all(self, client: PlainClient) -> None:
        """Receive until it has everything that was given so far, and whatever else was sent to it up to then."""
        while not self.is_whole():
            self.take(await client.receive())
        at = self._cut + self.given.row_count - self._given_at_cut
        message: Message = {}
        while isinstance(message, Data) or message.get("type") != "heartbeat" or message["at"] < at:
            self.take(message := await client.receive())
        self.check()

    async def read_to_the_end(self, client: PlainClient) -> int | None:
        """Take everything that comes through before the connection ends. Returns its close code."""
        with suppress(ConnectionClosed):
            while True:
                self.take(await client.receive())
        await client.socket.wait_closed()
        return client.socket.close_code

    # What it is told

    def take(self, message: Message) -> None:
        """Take one message. Fails where it is not explained by what was given."""
        if isinstance(message, Data):
            self.origins.add(message.origin)
            for row in message.rows:
                self._take_row(message.origin, row)
        elif message["type"] == "gap":
            self._take_gap(message)
        else:
            assert message["type"] in PASSED, message
            if message["type"] == "subscribed":
                self.is_subscribed = True
            elif message["type"] == "heartbeat" and self.is_subscribed:
                self.at = max(self.at or 0, message["at"])
                self.conflated = message["conflated"]
            elif message["type"] == "slow":
                self.slow.append(message)

    def _take_row(self, origin: str, row: Row) -> None:
        code, seq = row[:2]
        assert row == self.given.row(code, seq), f"row {seq} of {code} is not what was fed"
        newest = self.newest.get(code)
        if self._begins_again and newest is not None and seq <= newest:
            return
        begins = newest is None and self.since is None  # also where it resumed before its snapshot had come whole
        if origin == "snapshot" or begins:
            assert newest is None or seq >= newest, f"{code}: the snapshot {seq} is older than {newest}"
            assert origin == "snapshot" or seq <= max(1, self._had.get(code, 0)), f"{code}: row {seq} was the first"
            if seq != newest:
                self.snapshot[code] = row
        else:
            assert seq == (newest or 0) + 1, f"{code}: row {seq} came after {newest}"
            self.events.append(row)
            self._row_count += 1
        self.newest[code] = seq

    def _take_gap(self, gap: Control) -> None:
        topic = gap["topic"]
        if gap["cause"] == "upstream":
            assert (gap["from"], gap["to"]) == (None, None), gap
            missing = Missing(topic, gap["from_time"], gap["to_time"])
            assert missing not in self._gaps, f"{missing} came twice"
            self._gaps.append(missing)
            if missing not in self.events:  # its place may lie after the position that a client resumed from
                self.events.append(missing)
            return
        assert gap["cause"] == "evicted", gap
        assert gap["epoch"] == self.epoch, gap
        code = topic.removeprefix("tick:")
        assert gap["from"] == self.newest.get(code, 0) + 1, f"{gap} came after row {self.newest.get(code)}"
        assert gap["to"] >= gap["from"], gap
        self._told |= {(code, seq) for seq in range(gap["from"], gap["to"] + 1)}
        self.newest[code] = gap["to"]
        self.evicted.append(gap)

    # What it has

    @property
    def rows(self) -> list[Row]:
        return [event for event in self.events if not isinstance(event, Missing)]

    @property
    def gaps(self) -> list[Missing]:
        return [event for event in self.events if isinstance(event, Missing)]

    def due(self) -> list[Event]:
        """All that it must have, after its snapshot and but for the rows of which it was told that they are lost."""
        return [event for event in self.given.events if self._is_due(event)]

    def is_whole(self) -> bool:
        """Whether the newest row of every topic, and every gap, has come."""
        newest, gaps = self.newest, len(self.events) - self._row_count
        fed = self.given
        return gaps >= fed.gaps and all(newest.get(code, 0) >= seq for code, seq in fed.seqs.items() if self._has(code))

    def check(self) -> None:
        """Rows and gaps are the whole stream, in order of arrival."""
        assert self.events == self.due()

    def _is_due(self, event: Event) -> bool:
        if isinstance(event, Missing):
            return True
        code, seq = event[:2]
        is_told = (code, seq) in self._told
        return self._has(code) and not is_told and (code not in self.snapshot or seq > self.snapshot[code][1])

    def _has(self, code: str) -> bool:
        if code not in self._covered:
            topic = f"tick:{code}"
            self._covered[code] = topic in self.topics or any(covers(one, topic) for one in self.topics if "*" in one)
        return self._covered[code]
