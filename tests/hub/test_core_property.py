"""The promise, as a state machine: what a client is sent is exactly what its subscriptions say, whatever happens when.

Hypothesis drives the real core (hub, history, journal, router, outbox, session) with publishes, gaps of the source,
requests, sockets that stop and go, turns of the loop, kills and restarts in any order. A naive model knows every row
that was published; each client's stream must equal what follows from it: rows and announced gaps together are the whole
stream, in order, nothing twice. With a journal that keeps everything, no row may ever be announced as evicted.
"""

import json
from collections.abc import Iterable, Set
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import hub.history
import hub.jobs
import hub.outbox
import hub.replay
from hub.core import Hub, SourceInfo
from hub.history import History
from hub.journal import JournalSettings, abandon_journal
from hub.limits import Limits
from hub.opening import with_journal, without_journal
from hub.outbox import Outbox
from hub.past import GapNotice
from hub.session import MAX_REPLAYS, Session
from hub.topics import glob, meet, parse
from hub.wire import CODECS, split_frames
from tests.hub.test_journal_model import kill, small_files

CODES = [f"{number}.{market}" for market in ("SH", "SZ") for number in (600000, 600001, 688001, 1)]
NAMES = ["tick:*", "tick:*.SH", "tick:6*", "tick:688*.SH", "tick:1.SZ", "tick:600000.SH", "tick:@two", "tick:9*"]
_TIMES = st.tuples(st.integers(0, 45), st.integers(0, 45))
UNIVERSES = {"two": ["600001.SH", "688*.SZ"]}


def covers(name: str, code: str) -> bool:
    """Whether a topic string covers a code, the simple way."""
    instrument = name.removeprefix("tick:")
    if instrument.startswith("@"):
        return any(glob(pattern)(code) for pattern in UNIVERSES[instrument[1:]])
    return glob(instrument)(code)


class Client:
    """A client of the core: what it asked for, what it was sent, and what it is still owed according to the model."""

    def __init__(self, hub: Hub, codec: str) -> None:
        self.hub = hub
        self.wire: list[bytes] = []
        self.outbox = Outbox(CODECS[codec], hub.epoch, self._write, 1 << 24, self._overflow)
        self.session = Session(
            "s",
            hub,
            self.outbox,
            Limits(1 << 16, 100, 1e9, 1 << 24),
            token=None,
            authorized=False,
            close=self._closed,
            now_s=0.0,
        )
        self.modes: dict[str, str] = {}  # of each topic string
        self.next_seq: dict[str, int] = {}  # of observed codes: the number that must come next, or the least that may
        self.every_from: dict[str, int] = {}  # of codes conflated before: from which number on none is missing
        self.awaited: dict[str, int] = {}  # codes with a snapshot still to come, and its number
        self.asked: dict[str, int] = {}  # codes whose subscribe has not been answered yet, and its id
        self.notices_from: dict[str, int] = {}  # of codes subscribed: the number of the next gap of the source then
        self.received: dict[str, int] = {}  # by code, the newest number that came or was told as lost
        self.newest_row: dict[str, int] = {}  # by code, the newest number that came
        self.at: int | None = None  # of the last heartbeat
        self.replays: dict[int, tuple[dict[str, list[int]], dict[str, list[int]]]] = {}  # by id: expected, received
        self.gone = False
        self.old_epoch = ""  # of the position that it came back with, if it was another one
        self.owed: set[int] = set()  # gaps of the source, by number, that it has to be told of
        self.told_live: set[int] = set()  # those that it was told of as they came, or as it read on
        self.request_id = 0
        self.room = 1 << 30

    def _write(self, frames: bytes) -> None:
        self.wire.append(frames)
        self.room -= len(frames)
        if self.room <= 0:
            self.outbox.writable = False

    def _overflow(self) -> None:
        raise AssertionError("the limit is far away")

    def _closed(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed with {code} {reason}")

    @property
    def names(self) -> set[str]:
        return set(self.modes)

    def ask(self, **request: Any) -> int:
        self.request_id += 1
        self.session.receive(json.dumps({"id": self.request_id, **request}), 0.0, 0)
        return self.request_id

    def messages(self) -> list[Any]:
        """What came since the last call, both encodings brought to one shape."""
        frames = b"".join(self.wire)
        self.wire.clear()
        messages = []
        for opcode, payload in split_frames(frames):
            message = msgpack.unpackb(payload) if opcode == 2 else json.loads(payload)
            if isinstance(message, list):
                origin = ("live", "snapshot", "replay")[message[1]]
                rows = [dict(zip(("code", "seq", "time"), row, strict=False)) for row in message[2]]
                message = {"type": "data", "origin": origin, "rows": rows, "id": message[3] if message[3:] else None}
            messages.append(message)
        return messages


class Market(RuleBasedStateMachine):
    """The state machine. Its clients are checked as they read, and at the end must have everything."""

    clients = Bundle("clients")

    @initialize(
        ring=st.sampled_from([(1, 40_000), (3, 40_000), (1000, 40_000), (1000, 3_000)]),
        segment_rows=st.sampled_from([2, 5, 64]),
        journal=st.sampled_from([None, "whole", "whole", "retained"]),
    )
    def open(self, ring: tuple[int, int], segment_rows: int, journal: str | None) -> None:
        self.undo = ExitStack()
        patch = self.undo.enter_context(pytest.MonkeyPatch.context())
        self.undo.enter_context(small_files())
        patch.setattr(hub.history, "SEGMENT_ROWS", segment_rows)
        for module in (hub.jobs, hub.outbox, hub.replay):
            patch.setattr(module, "ROWS_PER_STEP", 3)
        self.ring, self.kind = ring, journal
        self.folder = Path(self.undo.enter_context(TemporaryDirectory()))
        self.day = date(2026, 3, 2)
        self.wanted: frozenset[str] = frozenset()
        self.published: dict[str, list[int]] = {}  # times by code, in order of seq
        self.arrivals: list[tuple[str, int]] = []
        self.notices: dict[int, tuple[int, str]] = {}  # after which row, and of what; by number
        self.all_clients: list[Client] = []
        self._start()

    def _start(self) -> None:
        """Start a hub on what the folder holds."""
        ring_rows, ring_bytes = self.ring
        history = History(ring_rows=ring_rows, ring_bytes=ring_bytes)
        if self.kind is None:
            self.opened = without_journal(history, self.folder)
        else:
            keep = JournalSettings(keep_days=10_000 if self.kind == "whole" else 1, part_bytes=2_000)
            self.opened = with_journal(
                history, self.folder, keep, source="test", run=None, day=self.day, on_append=lambda _: None
            )
        self.history, self.epoch = history, self.opened.epoch
        self.hub = Hub(
            epoch=self.epoch,
            source=SourceInfo("test", simulated=True),
            channels={"tick"},
            history=history,
            universes=UNIVERSES,
            on_wants=self._wants,
            on_refused=self._refused,
            day_start_ms=lambda: 0,
            store=self.opened.store,
        )

    def teardown(self) -> None:
        if not hasattr(self, "undo"):
            return
        try:
            for client in self.all_clients:
                self._finish(client)
        finally:
            self._kill_journal()
            self.undo.close()

    def _kill_journal(self) -> None:
        if self.opened.journal is not None:
            kill(self.opened.journal.journal)

    def _wants(self, names: frozenset[str]) -> None:
        self.wanted = names

    def _refused(self, reason: str) -> None:
        raise AssertionError(reason)

    @rule(target=clients, codec=st.sampled_from(list(CODECS)))
    def connect(self, codec: str) -> Client:
        assume(len(self.all_clients) < 5)
        client = Client(self.hub, codec)
        self.all_clients.append(client)
        return client

    @rule(rows=st.lists(st.tuples(st.sampled_from(CODES), st.integers(1, 40)), min_size=1, max_size=12))
    def publish(self, rows: list[tuple[str, int]]) -> None:
        for code, time_ms in rows:
            self.published.setdefault(code, []).append(time_ms)
            self.arrivals.append((code, len(self.published[code])))
        self.hub.publish("tick", [(code, time_ms, *[None] * 16) for code, time_ms in rows], 1)

    @rule(topic=st.sampled_from(["tick:*", "tick:*.SH", "tick:600000.SH", "tick:1.SZ"]))
    def announce(self, topic: str) -> None:
        number = 1000 + len(self.notices)
        self.notices[number] = self.history.at, topic
        self.hub.announce(topic, number, number)
        for client in self.all_clients:
            if any(meet(parse(topic, {}), parse(name, UNIVERSES)) for name in client.modes):
                client.owed.add(number)

    @rule()
    def turn(self) -> None:
        self.hub.flush()

    @rule(days=st.integers(1, 3))
    def another_day(self, days: int) -> None:
        """The journal begins another file, and perhaps lets old ones go."""
        self.day += timedelta(days=days)
        self.hub.roll(self.day)

    @rule(target=clients, keeps=st.sampled_from([True, True, False]))
    def kill(self, *, keeps: bool) -> Any:
        """The hub is killed and started again, perhaps without its history. Clients come back with their positions."""
        assume(self.arrivals)
        keeps = keeps and self.kind is not None
        assert all(number in self.notices for client in self.all_clients for number in client.owed)
        unwritten = {entry.from_ms for entry in self.hub._turn if isinstance(entry, GapNotice)}
        written_at, old_epoch, clients = self.history.delivered_at, self.epoch, self.all_clients
        positions = [(client, self._has_position(client)) for client in clients]
        self.wanted, self.all_clients = frozenset(), []
        for client in clients:
            self._drop(client, unwritten)
        self._kill_journal()
        if not keeps:
            abandon_journal(self.folder)
        self._start()
        assert (self.epoch == old_epoch) == keeps
        del self.arrivals[written_at if keeps else 0 :]
        self.published = {
            code: [times[seq - 1] for c, seq in self.arrivals if c == code]
            for code, times in self.published.items()
            if any(c == code for c, _ in self.arrivals)
        }
        assert self.history.at == len(self.arrivals)
        back = [self._come_back(client, old_epoch) for client, has_position in positions if has_position]
        return multiple(*back)

    def _drop(self, client: Client, unwritten: Set[Any] = frozenset()) -> None:
        """A client loses its connection with whatever is on the way."""
        client.gone = True
        client.owed -= unwritten
        client.wire.clear()
        client.outbox.shut()

    @rule(client=clients, times=st.integers(1, 6))
    def pump(self, client: Client, times: int) -> None:
        for _ in range(times):
            client.outbox.pump(self.history.delivered_at, 0.0)

    @rule(client=clients, room=st.integers(0, 400))
    def socket_fills(self, client: Client, room: int) -> None:
        client.room = room
        client.outbox.writable = room > 0

    @rule(client=clients)
    def socket_drains(self, client: Client) -> None:
        client.room = 1 << 30
        client.outbox.writable = True
        client.outbox.pump(self.history.delivered_at, 0.0)

    @rule(
        client=clients,
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
        since=st.one_of(st.sampled_from([None, "none", "open"]), st.integers(0, 45)),
        mode=st.sampled_from(["every", "every", "latest"]),
    )
    def subscribe(self, client: Client, names: list[str], since: str | int | None, mode: str) -> None:
        self._read(client)
        fresh = self._fresh(client, names)
        for code in fresh:
            times = self.published[code]
            begin_ms = -1 if since == "open" else since
            client.next_seq[code] = len(times) + 1
            if since is None:
                client.awaited[code] = len(times)
            elif isinstance(begin_ms, int):
                client.next_seq[code] = next((i for i, t in enumerate(times, 1) if t >= begin_ms), len(times) + 1)
        self._change_modes(client, client.modes | dict.fromkeys(names, mode))
        place = {"time": since} if isinstance(since, int) else since
        number = client.ask(op="subscribe", topics=names, since=place, mode=mode)
        client.asked.update(dict.fromkeys(fresh, number))
        client.notices_from.update(dict.fromkeys(fresh, 1000 + len(self.notices)))
        self._read(client)
        client.at = None  # it says nothing of topics that are new: only the next heartbeat does

    @rule(client=clients, data=st.data())
    def unsubscribe(self, client: Client, data: st.DataObject) -> None:
        assume(client.modes)
        names = data.draw(st.lists(st.sampled_from(sorted(client.modes)), min_size=1, max_size=2, unique=True))
        client.ask(op="unsubscribe", topics=names)
        self._drain_encoded(client)  # what was encoded before still comes, then the reply
        self._read(client)
        client.owed.clear()  # which of them still concern it is not told apart here
        self._change_modes(client, {name: mode for name, mode in client.modes.items() if name not in names})
        for code in list(client.next_seq):
            if not self._observes(client, code):
                del client.next_seq[code]
                client.awaited.pop(code, None)
                client.asked.pop(code, None)
                client.notices_from.pop(code, None)
                client.every_from.pop(code, None)
                client.received.pop(code, None)
                client.newest_row.pop(code, None)

    @rule(target=clients, client=clients, epoch=st.sampled_from(["", "", "", "another"]))
    def reconnect(self, client: Client, epoch: str) -> Client:
        """The client loses its connection with whatever was on the way, and comes back with its position."""
        assume(self._has_position(client))
        self.all_clients.remove(client)
        client.session.leave()
        self._drop(client)
        return self._come_back(client, epoch or self.epoch)

    def _has_position(self, client: Client) -> bool:
        has_all = bool(client.modes) and client.at is not None and not client.awaited and not client.gone
        return has_all and "latest" not in client.modes.values()

    def _come_back(self, client: Client, epoch: str) -> Client:
        assert client.at is not None
        back = Client(self.hub, client.outbox.codec.subprotocol)
        self.all_clients.append(back)
        seqs = {f"tick:{code}": seq for code, seq in client.received.items()}
        for code in self._fresh(back, client.modes):
            count = len(self.published[code])
            if epoch != self.epoch:
                back.awaited[code], back.next_seq[code] = count, count + 1
                continue
            after = client.received.get(code)
            if after is None:
                after = sum(1 for c, _ in self.arrivals[: client.at] if c == code)
                owed = client.next_seq.get(code, 1)
                assert after + 1 <= owed or owed == count + 1, "the heartbeat said more than was sent"
            back.next_seq[code] = after + 1
        back.modes = dict(client.modes)
        back.old_epoch = epoch if epoch != self.epoch else ""
        back.ask(op="subscribe", topics=list(client.modes), since={"epoch": epoch, "at": client.at, "seq": seqs})
        # What was announced before that went with the rows around it; what waited to be flushed may have pushed it out.
        oldest_at = self.history.cursor_after(0).at
        assert oldest_at == 0 or self.kind != "whole", "the journal has everything"
        held = {number for number in client.owed if self.notices[number][0] >= oldest_at}
        back.owed = set() if back.old_epoch else held
        self._read(back)
        return back

    @rule(client=clients)
    def heartbeat(self, client: Client) -> None:
        assume(not client.gone)
        self.hub.flush()
        client.session.heartbeat(0, {})

    @rule(client=clients, names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2), times=_TIMES)
    def replay(self, client: Client, names: list[str], times: tuple[int, int]) -> None:
        assume(not client.gone and len(client.replays) < MAX_REPLAYS)
        begin_ms, end_ms = min(times), max(times)
        codes = [code for code in self.published if any(covers(name, code) for name in names)]
        expected = {
            code: [seq for seq, t in enumerate(self.published[code], 1) if begin_ms <= t < end_ms] for code in codes
        }
        number = client.ask(op="replay", topics=names, **{"from": begin_ms, "to": end_ms})
        client.replays[number] = (expected, {})

    @rule(client=clients)
    def read(self, client: Client) -> None:
        self._read(client)

    @invariant()
    def wants_are_the_union(self) -> None:
        if hasattr(self, "hub"):
            assert self.wanted == frozenset().union(*(client.names for client in self.all_clients))

    def _fresh(self, client: Client, names: Iterable[str]) -> list[str]:
        names = list(names)
        return [c for c in self.published if not self._observes(client, c) and any(covers(n, c) for n in names)]

    def _observes(self, client: Client, code: str) -> bool:
        return any(covers(name, code) for name in client.names)

    def _has_every(self, client: Client, code: str) -> bool:
        return any(covers(name, code) for name, mode in client.modes.items() if mode == "every")

    def _change_modes(self, client: Client, modes: dict[str, str]) -> None:
        before = {code for code in self.published if self._observes(client, code) and not self._has_every(client, code)}
        client.modes = modes
        for code in before:
            if self._has_every(client, code):
                client.every_from[code] = len(self.published[code]) + 1

    def _drain_encoded(self, client: Client) -> None:
        while client.outbox.queued_bytes:
            client.room = 1 << 30
            client.outbox.writable = True
            client.outbox.pump(self.history.delivered_at, 0.0)

    def _read(self, client: Client) -> None:
        for message in client.messages():
            if message.get("id") in client.replays:
                self._take_replay(client, message)
            elif message["type"] == "gap":
                self._take_gap(client, message)
            elif message["type"] == "data":
                for row in message["rows"]:
                    self._take_row(client, row, message["origin"])
            elif message["type"] == "heartbeat":
                client.at = message["at"]
            elif message["type"] == "subscribed":
                client.asked = {code: number for code, number in client.asked.items() if number != message["id"]}
            else:
                assert message["type"] == "unsubscribed"

    def _take_replay(self, client: Client, message: dict[str, Any]) -> None:
        expected, received = client.replays[message["id"]]
        if message["type"] == "data":
            assert message["origin"] == "replay"
            for row in message["rows"]:
                assert self.published[row["code"]][row["seq"] - 1] == row["time"]
                received.setdefault(row["code"], []).append(row["seq"])
        elif message["type"] == "gap" and message["cause"] == "upstream":
            assert message["from_time"] in self.notices
        elif message["type"] == "gap":
            assert self.kind != "whole", "the journal has everything"
            code = message["topic"].removeprefix("tick:")
            lost = [seq for seq in expected[code] if message["from"] <= seq <= message["to"]]
            received.setdefault(code, []).extend(lost)
        else:
            assert message["type"] == "replay_done"
            del client.replays[message["id"]]
            assert {code: seqs for code, seqs in received.items() if seqs} == {c: s for c, s in expected.items() if s}

    def _take_gap(self, client: Client, gap: dict[str, Any]) -> None:
        code = gap["topic"].removeprefix("tick:")
        if gap["cause"] == "upstream":
            self._take_notice(client, gap)
            return
        if gap["cause"] == "epoch":
            assert gap["epoch"] == client.old_epoch != ""
            return
        assert gap["cause"] == "evicted"
        assert self.kind != "whole", "the journal has everything"
        # From a time on, history can't tell which of the rows it let go were earlier: the gap may begin too early.
        assert self._observes(client, code), "a gap that nobody waits for"
        assert gap["from"] <= client.next_seq.setdefault(code, 1) <= gap["to"] + 1
        client.next_seq[code] = gap["to"] + 1
        client.received[code] = gap["to"]

    def _take_notice(self, client: Client, gap: dict[str, Any]) -> None:
        after_at, topic = self.notices[gap["from_time"]]
        assert (gap["topic"], gap["from"], gap["to"], gap["to_time"]) == (topic, None, None, gap["from_time"])
        client.owed.discard(gap["from_time"])
        if gap.get("id") is not None:
            return
        assert gap["from_time"] not in client.told_live, "told twice"
        client.told_live.add(gap["from_time"])
        for code in self.published:  # it is told right where it belongs in the stream
            if gap["from_time"] < client.notices_from.get(code, 0):
                continue  # an older wish of the client hears of it, wherever the stream of this one begins
            if self._has_every(client, code) and code not in client.awaited and covers(topic, code):
                before = sum(1 for c, _ in self.arrivals[:after_at] if c == code)
                was_conflated = code in client.every_from
                assert was_conflated or client.next_seq.get(code, 1) > before, "told ahead of rows before it"
                assert was_conflated or client.newest_row.get(code, 0) <= before, "told after rows behind it"

    def _take_row(self, client: Client, row: dict[str, Any], origin: str) -> None:
        code, seq = row["code"], row["seq"]
        assert self._observes(client, code), "a row that was not asked for"
        assert code not in client.asked, "a row ahead of the reply"
        assert self.published[code][seq - 1] == row["time"]
        client.received[code] = client.newest_row[code] = seq
        if origin == "snapshot":
            assert client.awaited.pop(code) == seq
            return
        assert code not in client.awaited, "a live row ahead of the snapshot"
        least = client.next_seq.setdefault(code, 1)
        conflated = not self._has_every(client, code) or seq < client.every_from.get(code, 0)
        assert seq >= least if conflated and origin == "live" else seq == least
        client.next_seq[code] = seq + 1

    def _finish(self, client: Client) -> None:
        self.hub.flush()
        self._drain_encoded(client)
        client.room = 1 << 30
        client.outbox.writable = True
        while client.outbox.pump(self.history.delivered_at, 0.0):
            pass
        self._read(client)
        assert not client.outbox.lagging
        assert not client.awaited
        assert not client.replays
        assert not client.owed, "a gap of the source was not told"
        for code, times in self.published.items():
            if self._observes(client, code):
                assert client.next_seq.get(code, 1) == len(times) + 1, f"{code} is not complete"


TestMarket = Market.TestCase
TestMarket.settings = settings(
    max_examples=300, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
