"""Answers what edges ask of a feed's history: rows that the relay's streams have let go."""

from collections.abc import Callable
from typing import Final

from bridge.relay.boundary import Relay
from bridge.relay.fedmarks import FedMarks
from bridge.relay.logreader import Lost, reader_from
from bridge.relay.position import Position, TurnId
from bridge.relay.state import decode_question
from bridge.relay.turn import Part, encode, no_rows
from hub.history import History

KEEP_MS: Final = 10_000
ASKED_S: Final = 1.0


class Answering:
    """Answers for one history.

    Args:
        published: up to where edges may be given anything.
    """

    def __init__(
        self, relay: Relay, history: History, epoch: str, marks: FedMarks, published: Callable[[], Position]
    ) -> None:
        self._relay = relay
        self._history = history
        self._epoch = epoch
        self._marks = marks
        self._published = published

    async def run(self, token: int) -> None:
        """Answer without end, under a token. Raises RelayAway."""
        while True:
            asked = await self._relay.asked(ASKED_S)
            if asked is None:
                continue
            question, answer_to = decode_question(asked[0]), asked[1]
            answer = self._after(token, Position(question.at, question.told), question.most)
            await self._relay.answer(answer_to, answer, KEEP_MS)

    def _after(self, token: int, position: Position, most: int) -> bytes:
        """What follows a position, or the oldest that is held; as a part of a turn that was never published.

        Nothing that is not published: another feed may yet number it otherwise.
        """
        reader, end = reader_from(self._history, position), self._published()
        while True:
            try:
                stretch = reader.read(most, end)
            except Lost as lost:
                reader = reader_from(self._history, Position(lost.at, 0))
                continue
            turn = TurnId(token, 0)
            if stretch is None:
                return encode(Part(0, self._epoch, turn, end, end, 0, no_rows(), []))
            begin, end, rows, notices, states, *_ = stretch
            return encode(Part(0, self._epoch, turn, begin, end, 0, rows, notices, states, self._marks.at(end)))
