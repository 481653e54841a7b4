"""Puts together what comes to an edge that takes a few shards only. Pure.

It is what `bridge.relay.assembler` does for all of them, and two things are harder. Between two turns that come there
may be others that don't concern this edge: what each message says of the reach of shards tells whether there are some
that do. And a turn may be whole for this edge and half published all the same, so that its numbers will be given to
other rows: none is handed out before its feed has told that all of it is published.
"""

from bisect import bisect_right
from collections.abc import Iterator

from bridge.relay.assembler import notices_after, states_after
from bridge.relay.logreader import Stretch
from bridge.relay.partialturn import PartialTurn, served
from bridge.relay.position import Position, TurnId
from bridge.relay.share import Share
from bridge.relay.state import Published, Reign, State
from bridge.relay.turn import Part, Rows, no_rows, pick
from bridge.relay.waiting import Waiting


class PartialAssembler:
    """What has come of one epoch.

    Args:
        position: everything up to it is there already.
        share: what the edge takes.
        told: what the feed told last.
    """

    def __init__(self, epoch: str, position: Position, share: Share, told: State) -> None:
        self.epoch = epoch
        self.position = position
        self.shards = share.shards
        self.applied = TurnId(0, 0)
        """The newest turn that was handed out: in the streams, whatever is needed comes after it."""
        self._share = share
        self._waiting = Waiting(lambda part: PartialTurn(part, share))
        self._told: State | Published = told
        self._reigns: tuple[Reign, ...] = told.estate.reigns
        self._published = told.position  # everything up to there is published, by the newest feed's account

    @property
    def let_go(self) -> int:
        """Rows that had to be let go because too many waited."""
        return self._waiting.let_go

    @property
    def has_hole(self) -> bool:
        """Whether something was published that can't follow yet, other than what waits to be confirmed."""
        needs = (self._need(turn.first) for turn in self._waiting.turns.values())
        return self._needed > self.position or any(need > self.position for need in needs)

    def put(self, part: Part) -> None:
        """Take a part of a turn of this epoch, as it is published. Raises MalformedError.

        What comes late of an older feed may be of a turn that was never whole: what holds of it is in the streams.
        """
        if part.turn.token >= self._told.token:
            self.put_kept(part)

    def put_kept(self, part: Part) -> None:
        """Take a part that a stream has kept. Raises MalformedError."""
        if part.turn.token == self._told.token:  # a feed begins no turn before the one before it is published
            self._published = max(self._published, part.begin)
        if part.end > self.position and not self._is_undone(part):
            self._waiting.put(part)

    def hear(self, told: State | Published) -> None:
        """Take what a feed tells of itself.

        What waits of the feed before it may be numbered otherwise now: where it is not, the streams have it.
        """
        if told.token < self._told.token:
            return
        if isinstance(told, State):
            self._reigns = told.estate.reigns
        if told.token > self._told.token:
            for turn in [turn for turn in self._waiting.turns if turn.token < told.token]:
                self._waiting.drop(turn)
        elif told.position < self._told.position:  # it comes by another way
            return
        self._published = max(self._published, told.position)
        self._told = told

    def forget(self) -> None:
        """Let go of everything that can't follow yet."""
        self._waiting.forget()

    def take(self) -> Iterator[Stretch]:
        """What can follow now, in order. Each is behind this position once it was handed out. Raises MalformedError."""
        for turn, found in self._waiting.following(self._follows):
            rows = found.rows
            self.applied = max(self.applied, turn)
            yield self._advance(found.first, rows)
        told = self._told
        if self._needed <= self.position < told.position:
            begin, self.position = self.position, told.position
            yield Stretch(begin, told.position, no_rows(), [])

    def take_answer(self, part: Part) -> Stretch | None:
        """What follows, of what the feed answered; None where it has nothing more. It must not begin after a hole."""
        if part.begin > self.position:
            raise ValueError(f"the feed's answer begins at {part.begin}, behind {self.position}")
        return self._advance(part, served(part.rows, self._share)) if part.end > self.position else None

    def _need(self, part: Part) -> Position:
        return part.reach.need(part.begin, self.shards)

    @property
    def _needed(self) -> Position:
        """What has to be here of what the feed has published."""
        return self._told.reach.need(self._told.position, self.shards)

    def _is_undone(self, part: Part) -> bool:
        """Whether another feed went on from before the end of this turn."""
        return any(reign.token > part.turn.token and reign.position < part.end for reign in self._reigns)

    def _follows(self, turn: TurnId) -> bool:
        """Whether a turn can be handed out; one that is behind is dropped."""
        found = self._waiting.turns[turn]
        if found.first.end <= self.position:
            self._waiting.drop(turn)
            return False
        is_next = self._need(found.first) <= self.position
        return is_next and found.is_whole and found.first.end <= self._published

    def _advance(self, part: Part, rows: Rows) -> Stretch:
        """The rest of a turn that lies behind the position, which moves to its end. ``part``: any of it."""
        begin, end = self.position, part.end
        known = bisect_right(rows.ats, begin.at)
        if known:
            rows = pick(rows, range(known, len(rows.ats)))
        self.position = end
        return Stretch(begin, end, rows, notices_after(begin, part), states_after(begin, part), part.fed)
