"""Puts the parts of turns together and in order, whatever came twice, late or not at all. Pure.

What follows the position that was reached is handed out, each row once; what is missing shows as a hole. Two feeds of
one epoch number alike, so that a turn of one goes on after a turn of the other wherever the positions meet.
"""

from collections.abc import Iterator

from bridge.relay.joining import Joining
from bridge.relay.logreader import Stretch
from bridge.relay.position import Position, TurnId
from bridge.relay.state import Published, State
from bridge.relay.turn import MalformedError, Part, Rows, StateRows, pick
from bridge.relay.waiting import Waiting
from hub.past import GapNotice


class Assembler:
    """What has come of one epoch.

    Args:
        position: everything up to it is there already.
        shards: how many there are.
    """

    def __init__(self, epoch: str, position: Position, shards: int) -> None:
        self.epoch = epoch
        self.position = position
        self.shards = range(shards)
        self.applied = TurnId(0, 0)
        """The newest turn that was handed out: in the streams, whatever is needed comes after it."""
        self._waiting = Waiting(Joining)

    @property
    def let_go(self) -> int:
        """Rows that had to be let go because too many waited."""
        return self._waiting.let_go

    @property
    def has_hole(self) -> bool:
        """Whether something has come that can't follow yet, other than a turn whose last parts are on their way."""
        turns = self._waiting.turns
        if len(turns) != 1:
            return bool(turns)
        return any(joining.first.begin > self.position for joining in turns.values())

    def put(self, part: Part) -> None:
        """Take a part of a turn of this epoch. Raises MalformedError."""
        if part.end > self.position:
            self._waiting.put(part)

    put_kept = put
    """Take a part that a stream has kept: of a turn that was never whole some part is missing in any case."""

    def hear(self, told: State | Published) -> None:
        """Take what a feed tells of itself: who takes all shards sees by the turns what is published."""

    def forget(self) -> None:
        """Let go of everything that can't follow yet."""
        self._waiting.forget()

    def take(self) -> Iterator[Stretch]:
        """What can follow now, in order. Each is behind this position once it was handed out. Raises MalformedError."""
        for turn, joining in self._waiting.following(self._follows):
            stretch = self._advance(joining.first, joining.rows)
            self.applied = max(self.applied, turn)
            self._give_up(turn)
            yield stretch

    def take_answer(self, part: Part) -> Stretch | None:
        """What follows, of what the feed answered; None where it has nothing more. It must not begin after a hole."""
        if part.begin > self.position:
            raise ValueError(f"the feed's answer begins at {part.begin}, behind {self.position}")
        return self._advance(part, part.rows) if part.end > self.position else None

    def _follows(self, turn: TurnId) -> bool:
        """Whether a turn can be handed out; one that is behind is dropped."""
        joining = self._waiting.turns[turn]
        if joining.first.end <= self.position:
            self._waiting.drop(turn)
            return False
        try:
            return joining.first.begin <= self.position and joining.is_whole
        except MalformedError:
            self._waiting.drop(turn)
            raise

    def _give_up(self, turn: TurnId) -> None:
        """Drop what an older feed left half published, and another one has published otherwise."""
        for known, joining in list(self._waiting.turns.items()):
            if known.token < turn.token and joining.first.begin < self.position:
                self._waiting.drop(known)

    def _advance(self, part: Part, rows: Rows) -> Stretch:
        """The rest of a turn that lies behind the position, which moves to its end. ``part``: any of it."""
        begin, end = self.position, part.end
        known = begin.at - part.begin.at
        if known > 0:
            rows = pick(rows, range(known, len(rows.rows)))
        self.position = end
        return Stretch(begin, end, rows, notices_after(begin, part), states_after(begin, part), part.fed)


def notices_after(position: Position, part: Part) -> list[GapNotice]:
    """The notices of a turn that lie behind a position within it."""
    told = position.told - (part.begin.told if part.begin.at == position.at else 0)
    here = [notice for notice in part.notices if notice.after_at == position.at]
    return [*here[told:], *(notice for notice in part.notices if notice.after_at > position.at)]


def states_after(position: Position, part: Part) -> StateRows:
    """The stretches of states of a turn that lie behind a position within it."""
    after = position.at + 1
    return tuple((max(first_at, after), last_at) for first_at, last_at in part.states if last_at >= after)
