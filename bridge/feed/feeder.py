"""A sink whose hub is somewhere else: numbers batches, keeps what the hub has not acknowledged, and sends it on.

Delivering never waits: one task sends, as fast as the hub takes it. A hub that is away, slow or being restarted only
lets the backlog grow, up to its bound; what was sent and not acknowledged is sent again to the hub that comes next.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from bridge.feed.backlog import Backlog
from bridge.feed.messages import (
    CLOSE_FORBIDDEN,
    CLOSE_REPLACED,
    CLOSE_VIOLATION,
    HUB_SAYS,
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Ack,
    Clock,
    Dropped,
    Error,
    FeedViolation,
    Hello,
    Instruments,
    Reader,
    Status,
    TradingDays,
    Want,
    Welcome,
    encode,
    encode_batch,
    short_reason,
)
from bridge.feed.source import newest_ms
from bridge.feed.told import message_of
from bridge.source import Batch, Interruption, SourceState, SourceStatus, Told
from hub.schema import Row

OPEN_TIMEOUT_S: Final = 10.0
"""How long a hub may take to answer, up to its welcome."""
CLOSE_TIMEOUT_S: Final = 2.0
LEAST_PAUSE_S, MOST_PAUSE_S = 0.1, 5.0
"""Bounds of the pause before connecting again: rows wait meanwhile, so it is shorter than a client's."""
MOST_PAUSE_AMONG_SEVERAL_S: Final = 0.5
"""Of several hubs one is there nearly always, and all addresses are tried before there is a pause."""
PING_S: Final = 20.0
PING_AMONG_SEVERAL_S: Final = 0.5
LOST_AMONG_SEVERAL_S: Final = 1.5
CLOSE_AMONG_SEVERAL_S: Final = 0.2
OPEN_AMONG_SEVERAL_S: Final = 0.5
"""So long a hub may say nothing where there is another one to go to: rows are to be with it within five seconds."""
MAX_BATCH_BYTES: Final = MAX_MESSAGE_BYTES // 2
"""A larger batch is sent in parts."""
LOGGED_ROWS: Final = 10
"""Rows that can't be sent and are logged one by one; further ones are only counted."""

_HOPELESS: Final = frozenset({1007, 1009, CLOSE_VIOLATION})
"""Close codes after which the same bytes would end the same way."""
_UNAUTHORIZED: Final = 4401

_logger = logging.getLogger("argus.feeder")


class FeedEnded(Exception):  # noqa: N818 (it reads as what happened)
    """The hub will not take anything from this feeder any more. The text is one line for the user."""


class _Lost(Exception):  # noqa: N818 (it reads as what happened)
    """There is no connection now; another may follow."""


def full_jitter(fruitless: int) -> float:
    """A random pause in seconds after so many attempts in a row that led to nothing."""
    bound_s = min(MOST_PAUSE_S, LEAST_PAUSE_S * 2.0 ** min(fruitless + 1, 16))
    return random.uniform(LEAST_PAUSE_S, bound_s)  # noqa: S311 - no secret


class Feeder:
    """A `bridge.source.Sink`; ``run`` sends what it is given to the hub.

    Args:
        url: address of the hub's endpoint, such as ``ws://127.0.0.1:8765/feed``; several, between commas: whichever
            takes this feeder.
        token: what the hub asks for; empty where it asks for nothing.
        hello: who feeds.
        buffer_bytes: what is kept at most for a hub that is away.
        on_want: told the topics that clients want, whenever the hub says so.
        pause_s: how long to wait after so many fruitless attempts.
    """

    def __init__(
        self,
        url: str,
        token: str,
        hello: Hello,
        *,
        buffer_bytes: int,
        on_want: Callable[[frozenset[str]], None],
        pause_s: Callable[[int], float] = full_jitter,
    ) -> None:
        self.batches = 0
        """Batches that were delivered so far."""
        self.unfit_rows = 0
        """Rows that were left out because they can't be sent."""
        self.welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        """The hub's first welcome."""
        self._urls = url.split(",")
        self._url = self._urls[0]
        self._token = token
        self._hello = hello
        self._on_want = on_want
        self._pause_s = pause_s
        self._backlog = Backlog(buffer_bytes)
        self._sent = 0  # the newest number on the present connection
        self._has_missed = False
        self._state: dict[str, bytes] = {}  # the newest word on everything that is no stream, by kind
        self._unsaid: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._told: dict[str, str] = {}  # by address, what was said aloud

    @property
    def waiting(self) -> int:
        """Messages that the hub has not acknowledged."""
        return len(self._backlog)

    @property
    def dropped(self) -> int:
        """Batches that had to be dropped before they were acknowledged."""
        return self._backlog.dropped

    def deliver(self, batch: Batch) -> None:
        """Number a batch and keep it for the hub. What can't be sent of it is counted and left out."""
        self.batches += 1
        time_ms = newest_ms(batch.rows)
        if self._has_missed:
            self._has_missed = False
            if self._backlog.newest_ms is not None:
                self._keep_interruption([], self._backlog.newest_ms, time_ms)
        self._keep_rows(batch, batch.rows)

    def report(self, status: SourceStatus) -> None:
        """Pass on how the source is doing.

        The hub is not left to guess what was missed meanwhile: it is told at its place in the stream.
        """
        if status.state is SourceState.AWAY and not status.keeps:
            self._has_missed = True
        level = logging.INFO if status.state is SourceState.CONNECTED else logging.WARNING
        _logger.log(level, "source is %s%s", status.state, f": {status.reason}" if status.reason else "")
        self.tell(Status(status.state.value, status.reason, keeps=status.state is SourceState.AWAY))

    def interrupt(self, interruption: Interruption) -> None:
        """Pass on that rows are missing at this place."""
        self._keep_interruption([interruption.topic], interruption.from_ms, interruption.to_ms)

    def begin_run(self, run: str) -> None:
        """The source began anew: everything may be missing at this place. The feeder's own run goes on."""
        self._has_missed = True

    def tell(self, told: Told | Status | TradingDays | Instruments | Clock) -> None:
        """Say something of which only the newest word counts; it passes batches that wait."""
        message = message_of(told)
        kind = type(message).__name__
        self._state[kind] = encode(message)
        self._unsaid[kind] = None
        self._woken.set()

    async def run(self) -> None:
        """Send for ever, to one connection after the other. Raises FeedEnded when the hub wants nothing more."""
        fruitless = 0
        while True:
            welcomed = False
            try:
                connection = await self._connect()
                try:
                    welcomed = await self._greet(connection)
                    await self._feed(connection)
                except asyncio.CancelledError:
                    await connection.close(1000, "the feeder has ended")
                    raise
                finally:
                    connection.transport.abort()
            except _Lost as lost:
                fruitless = 0 if welcomed else fruitless + 1
                self._log_loss(str(lost))
            await self._turn_to_the_next(fruitless)

    async def _turn_to_the_next(self, fruitless: int) -> None:
        """Go on to the next address; after the last one, or where it is the only one, with a pause."""
        place = (self._urls.index(self._url) + 1) % len(self._urls)
        self._url = self._urls[place]
        pause_s = self._pause_s(fruitless // len(self._urls))
        if len(self._urls) == 1:
            await asyncio.sleep(pause_s)
        elif place == 0:
            await asyncio.sleep(min(pause_s, MOST_PAUSE_AMONG_SEVERAL_S))

    async def finish(self, timeout_s: float) -> None:
        """Give the hub some time to acknowledge what waits; what doesn't get there is told in the log."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.waiting:
                    self._acknowledged.clear()
                    await self._acknowledged.wait()
        if self.waiting:
            _logger.error("%d batches were not acknowledged within %g s and are lost", self.waiting, timeout_s)

    @property
    def _patience_s(self) -> float:
        """How long a hub may take to answer, up to its welcome."""
        return OPEN_TIMEOUT_S if len(self._urls) == 1 else LOST_AMONG_SEVERAL_S

    async def _connect(self) -> ClientConnection:
        alone = len(self._urls) == 1
        try:
            return await connect(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers={"Authorization": f"Bearer {self._token}"} if self._token else None,
                compression=None,
                proxy=None,
                open_timeout=OPEN_TIMEOUT_S if alone else OPEN_AMONG_SEVERAL_S,
                close_timeout=CLOSE_TIMEOUT_S if alone else CLOSE_AMONG_SEVERAL_S,
                max_size=MAX_MESSAGE_BYTES,
                ping_interval=PING_S if alone else PING_AMONG_SEVERAL_S,
                ping_timeout=PING_S if alone else LOST_AMONG_SEVERAL_S,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            body = (error.response.body or b"").decode(errors="replace").strip().partition("\n")[0]
            why = f"it answers HTTP {status}{f': {body}' if body else ''}"
            if 400 <= status < 500 and not self.welcome.done():  # nothing but another setting will help
                raise FeedEnded(f"the hub at {self._url} does not take this feeder: {why}") from None
            raise _Lost(why) from None
        except TimeoutError:
            raise _Lost("no answer in time") from None
        except OSError as error:
            raise _Lost("nobody answers" if error.errno is None else error.strerror or str(error)) from None
        except WebSocketException as error:
            raise _Lost(f"it doesn't answer as a hub would: {error}") from None

    async def _greet(self, connection: ClientConnection) -> bool:
        """Introduce this feeder, and take the hub's welcome."""
        reader = Reader(HUB_SAYS, "hub")
        try:
            async with asyncio.timeout(self._patience_s):
                await connection.send(encode(self._hello))
                while not isinstance(message := reader.read(await connection.recv()), Welcome):
                    if isinstance(message, Error):
                        _logger.warning("the hub says: %s", message.message)
        except ConnectionClosed:
            raise self._loss(connection) from None
        except TimeoutError:
            raise _Lost(f"no welcome within {self._patience_s:g} s") from None
        except FeedViolation as violation:
            raise _Lost(f"it can't be understood: {violation}") from None
        if message.run == self._hello.run:
            self._backlog.acknowledge(message.batch)
            self._acknowledged.set()
        self._sent = 0  # whatever is kept was not acknowledged
        if not self.welcome.done():
            self.welcome.set_result(message)
        self._on_want(frozenset(message.want))
        self._told.clear()
        _logger.info("connected to %s, %d batches wait for it", self._url, self.waiting)
        return True

    async def _feed(self, connection: ClientConnection) -> None:
        """Send and listen until the connection is lost."""
        tasks = [asyncio.create_task(work) for work in (self._send(connection), self._listen(connection))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, FeedViolation):
                await connection.close(CLOSE_VIOLATION, short_reason(str(end)))
                raise _Lost(f"it can't be understood: {end}")
            if isinstance(end, Exception) and not isinstance(end, ConnectionClosed):
                raise end
        await connection.wait_closed()
        raise self._loss(connection)

    async def _send(self, connection: ClientConnection) -> None:
        self._unsaid = dict.fromkeys(self._state)
        while True:
            while self._unsaid:
                kind = next(iter(self._unsaid))
                del self._unsaid[kind]
                await connection.send(self._state[kind])
            message = self._backlog.after(self._sent)
            if message is not None:
                await connection.send(message.data)
                self._sent = message.number
            else:
                self._woken.clear()
                await self._woken.wait()

    async def _listen(self, connection: ClientConnection) -> None:
        reader = Reader(HUB_SAYS, "hub")
        async for data in connection:
            match reader.read(data):
                case Ack(batch):
                    self._backlog.acknowledge(batch)
                    self._acknowledged.set()
                case Want(topics):
                    self._on_want(frozenset(topics))
                case Error(code, message):
                    _logger.error("the hub says: %s (%s)", message, code)

    def _loss(self, connection: ClientConnection) -> Exception:
        """What the end of a connection means."""
        code, reason = connection.close_code, connection.close_reason
        why = f"{code}{f' {reason}' if reason else ''}"
        if code == CLOSE_REPLACED:
            return FeedEnded(f"the hub at {self._url} is fed by a newer run of {self._hello.source}: this one ends")
        is_refusal = code in (CLOSE_FORBIDDEN, _UNAUTHORIZED) and not self.welcome.done()
        if code in _HOPELESS or is_refusal:
            return FeedEnded(f"the hub at {self._url} does not take this feeder: {why}")
        return _Lost(f"the connection was closed ({why})")

    def _log_loss(self, why: str) -> None:
        """Say it once aloud; while the reason stays the same, further attempts are no news."""
        level = logging.DEBUG if self._told.get(self._url) == why else logging.WARNING
        self._told[self._url] = why
        _logger.log(level, "no hub at %s: %s; %d batches wait, trying again", self._url, why, self.waiting)

    def _keep_rows(self, batch: Batch, rows: Sequence[Row]) -> None:
        number = self._backlog.next_number
        try:
            data = encode_batch(number, batch.channel, rows, batch.recv_us, is_state=batch.is_state)
        except (TypeError, ValueError, OverflowError):
            rows = [row for row in rows if self._can_be_sent(row)]
            data = encode_batch(number, batch.channel, rows, batch.recv_us, is_state=batch.is_state)
        if len(data) > MAX_BATCH_BYTES and len(rows) > 1:
            middle = len(rows) // 2
            self._keep_rows(batch, rows[:middle])
            self._keep_rows(batch, rows[middle:])
        else:
            self._keep(data, newest_ms(rows))

    def _can_be_sent(self, row: Row) -> bool:
        try:
            encode(row)
        except (TypeError, ValueError, OverflowError) as error:
            self.unfit_rows += 1
            if self.unfit_rows <= LOGGED_ROWS:
                _logger.error("row left out, it can't be sent (%s): %.160s", error, row)
            return False
        return True

    def _keep_interruption(self, topics: list[str], from_ms: int | None, to_ms: int | None) -> None:
        """Use up a number for rows that never came, so that they are told at their place and once."""
        number = self._backlog.next_number
        self._keep(encode(Dropped(number, number, from_ms, to_ms, topics)), to_ms)

    def _keep(self, data: bytes, time_ms: int | None) -> None:
        had_hole = self._backlog.has_hole
        self._backlog.add(data, time_ms)
        if self._backlog.has_hole and not had_hole:
            _logger.error("too much waits for the hub: the oldest batches are dropped from now on")
        self._woken.set()
