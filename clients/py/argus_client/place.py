"""How far one subscription is in the hub's stream: what makes a cut connection go on without a hole or a repeat.

A place is pure: it is told of replies, rows, gaps and heartbeats, and answers what is new, what a new connection must
be asked for, and what is handled. Its numbers belong to one epoch and are never kept without it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from argus_client.ledger import FromPosition, Order, Since
from argus_client.messages import Gap, Subscribed
from argus_client.notices import Notices, Recent
from argus_client.position import Mark, Position, is_position, note_of, notice_in
from argus_client.rows import Origin, Row

Key = tuple[str, str]
"""Channel and code of a topic."""


class Place:
    """One subscription's place. ``epoch`` is None before anything was asked; ``at`` while nothing is behind it.

    The beginning is the snapshot or history in front of the live rows. A history goes on from where it was cut: by
    the numbers of the topics that have come, and for all others by a heartbeat that told how far it was. Before there
    was one, and for a snapshot, the only way to get the rest is to ask for the beginning again; rows that came
    already are known by their numbers.
    """

    def __init__(self, order: Order, resume: Position | None = None) -> None:
        self.order: Final = order
        self.epoch: str | None = None
        self.at: int | None = None
        self._beginning: Since = order.since
        self._seqs: dict[Key, int] = {}
        self._may_jump: set[Key] = set()
        self._notices = Notices()
        self._recent = Recent()
        self._cut: int | None = None
        self._is_partial = False
        self._snapshot = False
        self._history = False
        self._owed_rows = 0
        self._owed_gaps = 0
        self._missing_snapshots = 0
        if resume is not None:
            self._restore(resume)
        elif is_position(order.since):
            self._beginning = None
            self._restore(order.since)

    def connect(self, epoch: str) -> list[Gap]:
        """Go on with a hub of this epoch, on a new connection, and return what is lost already.

        A position of another epoch is asked for as it is: the hub tells what that costs.
        """
        self._cut = None
        self._may_jump.clear()
        lost: list[Gap] = []
        if self.epoch not in (None, epoch):
            since = self._since()
            if is_position(since):
                self._beginning = since
                if since.get("epoch") != self.epoch:  # the hub can't tell of rows that came since, in an epoch between
                    lost = [self._forgotten(f"{channel}:{code}") for channel, code in self._seqs]
            else:
                lost = [self._forgotten(text) for text in self.order.topics.texts]
            self.at = None
            self._is_partial = False
            self._seqs.clear()
            self._recent = Recent()
        self.epoch = epoch
        return lost

    def ask(self) -> Since:
        """Return what the hub of this connection must be asked for."""
        since = self._since()
        position = since if is_position(since) else None
        self._snapshot = since is None or (
            position is not None and (position.get("epoch") != self.epoch or "at" not in position)
        )
        return since

    def begin(self, reply: Subscribed, known: Iterable[Mapping[Key, int]] = ()) -> None:
        """Note the hub's reply. ``known`` are the numbers of subscriptions that have some of the topics already.

        Their history is not sent again, so that the next row of such a topic is the one after its number.
        """
        self._cut = reply.at
        self._owed_rows = reply.replayed
        self._owed_gaps = len(reply.unrecovered)
        self._missing_snapshots = reply.matched
        self._history = False
        if self.at is None and self._beginning == {"time": 0}:  # nothing lies before it: no heartbeat need tell where
            self.at, self._is_partial = 0, True
        for seqs in known:
            for key, seq in seqs.items():
                if self.order.topics.covers(*key):
                    self._seqs.setdefault(key, seq)
        self._look()

    def came(self, origin: Origin, count: int) -> None:
        """Note that so many rows of the beginning have come, after they were taken."""
        if origin == "snapshot":
            self._missing_snapshots -= count
        else:
            self._history = True
            self._owed_rows -= count
        self._look()

    @property
    def is_beginning(self) -> bool:
        """True while snapshot or history are on their way."""
        return self._cut is not None and (self.at is None or self.at < self._cut)

    def beat(self, at: int, *, alone: bool) -> None:
        """Note a heartbeat: everything up to ``at`` has come, if that says anything about this subscription.

        ``alone``: nothing else of the past is on its way to this client. Else ``at`` may lie before this history
        begins, because it tells of all together; to go on from there would bring rows that were never asked for.
        """
        if self._cut is None or self._owed_gaps > 0:
            return
        if at >= self._cut:
            if self._owed_rows <= 0:
                self._settle(at)
        elif self.at is not None:
            self._move(at)
        elif alone and self._history and not self._snapshot:
            self._is_partial = True
            self._move(at)

    @property
    def unbroken(self) -> Mapping[Key, int]:
        """The number of each topic's newest row, where the next one that comes will be its successor; else nothing."""
        whole = self._cut is not None and self.at is not None and self.at >= self._cut
        return self._seqs if whole and self.order.mode == "every" else {}

    def take(self, key: Key, seq: int) -> bool | Gap:
        """Note a row, and tell whether it is new; a gap, where it is and numbers before it were never heard of."""
        last = self._seqs.get(key)
        if last is not None and seq <= last:
            return False
        self._seqs[key] = seq
        if last is None or seq == last + 1 or self.order.mode == "latest" or key in self._may_jump:
            self._may_jump.discard(key)
            return True
        return Gap(f"{key[0]}:{key[1]}", self.epoch, last + 1, seq - 1, None, None, "unannounced", None)

    def take_gap(self, gap: Gap, *, own: bool) -> Gap | None:
        """Note a gap, and return what of it is news. ``own``: it belongs to this subscription's beginning."""
        channel, _, code = gap.topic.partition(":")
        key = channel, code
        if own:
            self._count(gap)
        if gap.cause == "epoch":
            self._may_jump.add(key)
            if gap.epoch == self.epoch:  # the hub knows fewer rows than came from it
                self._seqs.pop(key, None)
                return gap
            return gap if self._notices.is_news(gap) else None
        if gap.from_seq is None or gap.to_seq is None or gap.cause == "backfilled":
            if not self._notices.is_news(gap):
                return None
            self._recent.add(gap)
            return gap
        last = self._seqs.get(key, gap.from_seq - 1)
        if gap.to_seq <= last:
            return None
        self._seqs[key] = gap.to_seq
        return gap if gap.from_seq > last else replace(gap, from_seq=last + 1)

    def handled(self, waiting: Iterable[Row | Gap]) -> Mark:
        """Return the place of a subscription for which these items, oldest first, were not handled yet."""
        seqs = dict(self._seqs)
        waiting = list(waiting)
        for item in reversed(waiting):
            if isinstance(item, Row):
                seqs[item.channel, item.code] = item.seq - 1
            elif item.from_seq is not None and item.epoch == self.epoch:
                channel, _, code = item.topic.partition(":")
                seqs[channel, code] = item.from_seq - 1
        by_topic = {f"{channel}:{code}": seq for (channel, code), seq in seqs.items()}
        return Mark(self.at, by_topic, self._is_partial, [note_of(gap) for gap in self._recent if gap not in waiting])

    def _since(self) -> Since:
        if self.epoch is None:
            return self._beginning
        if self.at is None and self._beginning is not None:
            return self._beginning
        seqs = {f"{channel}:{code}": seq for (channel, code), seq in self._seqs.items()}
        if self.at is not None:
            return FromPosition(epoch=self.epoch, at=self.at, seq=seqs)
        return FromPosition(epoch=self.epoch, seq=seqs) if seqs else None

    def _restore(self, position: Position | FromPosition) -> None:
        """Be where a connection that was cut at this position would be."""
        self.epoch = position["epoch"]
        for topic, seq in position.get("seq", {}).items():
            channel, _, code = topic.partition(":")
            if self.order.topics.covers(channel, code):
                self._seqs[channel, code] = seq
        kept: Any = position
        told = [notice_in(self.epoch, note) for note in kept.get("notices", ())]
        self._notices, self._recent = Notices(told), Recent(told)
        partial = [at for text, at in kept.get("partial", {}).items() if text in self.order.topics.texts]
        if set(kept.get("unfinished", ())).intersection(self.order.topics.texts):
            return
        self._is_partial = bool(partial)
        self.at = min(partial) if partial else position.get("at")

    def _count(self, gap: Gap) -> None:
        """Count a gap of the beginning: those in front of it are announced, later ones take rows out of it."""
        if gap.cause == "epoch":
            self._snapshot = True
        if self._owed_gaps > 0:
            self._owed_gaps -= 1
        elif gap.from_seq is not None and gap.to_seq is not None:
            self._owed_rows -= gap.to_seq - gap.from_seq + 1
        self._look()

    def _look(self) -> None:
        """Look whether the beginning is whole by what was promised. Where that can't be told, a heartbeat tells."""
        if self._cut is None or self._owed_gaps > 0 or self._owed_rows > 0:
            return
        if not self._snapshot or self._missing_snapshots <= 0:
            self._settle(self._cut)

    def _settle(self, at: int) -> None:
        self._is_partial = False
        self._move(at)

    def _move(self, at: int) -> None:
        if self.at is None or at > self.at:
            self.at = at
            self._recent.move_on()

    def _forgotten(self, text: str) -> Gap:
        channel, _, code = text.partition(":")
        last = self._seqs.get((channel, code))
        return Gap(text, self.epoch, None if last is None else last + 1, None, None, None, "epoch", None)
