"""A connection to a server for what has to be fast: what is published, and what is heard.

redis-py opens it, with all that belongs to that (TLS, passwords, sentinels). From then on the socket is read and
written here, by hiredis: the library's way for a command is some tasks and timers, which cost more than the command.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import NoPermissionError, ResponseError

from bridge.relay.boundary import RelayAway

_NOTHING: Final = object()


def packed(*words: bytes | str | int) -> bytes:
    """A command as it is sent."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it takes any number of words
    return command


class Line(asyncio.Protocol):
    """A connection that is open. What the server says is handed on as it comes; an error as `ResponseError`.

    Args:
        on_answer: given each answer or message.
        on_end: told once, when the connection has ended or can't be read any more, and why.
    """

    def __init__(self, on_answer: Callable[[Any], None], on_end: Callable[[Exception], None]) -> None:
        self._on_answer = on_answer
        self._on_end = on_end
        self._reader = hiredis.Reader(replyError=_error_of, notEnoughData=_NOTHING)
        self._has_ended = False

    async def open(self, pool: ConnectionPool) -> None:
        """Open it. Raises RedisError, OSError."""
        self._connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await self._connection.connect()
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise
        writer = self._connection._writer
        self._transport: asyncio.WriteTransport = writer.transport
        writer.transport.set_protocol(self)
        writer.transport.resume_reading()

    def write(self, *words: bytes | str | int) -> None:
        """Send a command."""
        self.send([packed(*words)])

    def send(self, commands: Sequence[bytes]) -> None:
        """Send packed commands."""
        self._transport.write(b"".join(commands))

    async def close(self) -> None:
        """Close it, at once."""
        self._has_ended = True
        await self._connection.disconnect(nowait=True)

    def data_received(self, data: bytes) -> None:
        """Hand on what has come in whole."""
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                self._on_answer(answer)
        except (hiredis.HiredisError, RelayAway) as error:
            self._end(error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._end(error or ConnectionError("the server has closed the connection"))

    def _end(self, error: Exception) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end(error)


def _error_of(text: str) -> ResponseError:
    """What the library would make of an error, as far as somebody asks."""
    return NoPermissionError(text) if text.startswith("NOPERM") else ResponseError(text)


class AnsweredLine:
    """A line for commands that are sent one behind the other, and answered in that order."""

    def __init__(self) -> None:
        self._answers: list[Any] = []
        self._failure: Exception | None = None
        self._awaited = 0
        self._waiting: asyncio.Future[None] | None = None
        self._line = Line(self._take, self._fail)
        self.open = self._line.open
        self.write = self._line.write
        self.send = self._line.send
        self.close = self._line.close

    @property
    def is_open(self) -> bool:
        """Whether nothing has failed yet."""
        return self._failure is None

    async def answers(self, count: int, timeout_s: float) -> list[Any]:
        """The next answers. Who waits is woken once, when all are there.

        Raises:
            OSError, RedisError: one is an error, or the connection has ended.
            TimeoutError: they did not come.
        """
        if len(self._answers) < count and self._failure is None:
            loop = asyncio.get_running_loop()
            self._awaited, waiting = count, loop.create_future()
            self._waiting = waiting
            limit = loop.call_later(timeout_s, self._fail, TimeoutError())
            try:
                await waiting
            finally:
                limit.cancel()
                self._waiting = None
        if len(self._answers) > count:  # none may be taken for that of a later command
            self._fail(ConnectionError("the server says more than it was asked"))
        if self._failure is not None:
            raise self._failure
        answers, self._answers = self._answers[:count], self._answers[count:]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _take(self, answer: Any) -> None:
        self._answers.append(answer)
        if len(self._answers) >= self._awaited:
            self._wake()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
