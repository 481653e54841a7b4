"""The bounded queue of one subscription, and the brake that all queues of a connection share.

A row that has arrived is never dropped. When a queue is full the brake is on, the socket is read no further, and
the hub's own policy for slow clients takes over; when the queue has been read to half, reading goes on.
"""

import asyncio
import logging
from collections import deque
from typing import Final

from argus_client.errors import ArgusError
from argus_client.messages import Gap
from argus_client.rows import Row

YIELD_EVERY_ROWS: Final = 256
"""A reader that never has to wait lets the rest of the program run after this many rows."""

_log = logging.getLogger("argus_client")


class Brake:
    """Tells the reader of the socket whether to go on."""

    def __init__(self) -> None:
        self._full: set[Inbox] = set()
        self._awaited: set[object] = set()
        self._off = asyncio.Event()
        self._off.set()

    @property
    def on(self) -> bool:
        """True while the socket must not be read."""
        return not self._off.is_set()

    def pull(self, inbox: "Inbox") -> None:
        """Note that a queue is full."""
        self._full.add(inbox)
        self._update()

    def release(self, inbox: "Inbox") -> None:
        """Note that a queue has room again, or is read no more."""
        self._full.discard(inbox)
        self._update()

    def expect(self, reply: object) -> None:
        """Keep the socket read until a reply has come, even if a queue is full.

        Without this, a request from inside the loop that reads a full queue would wait for ever. The queue grows
        by no more than what the hub had sent before the reply.
        """
        self._awaited.add(reply)
        self._update()

    def settle(self, reply: object) -> None:
        """Note that a reply has come, or is no longer waited for."""
        self._awaited.discard(reply)
        self._update()

    async def wait_off(self) -> None:
        """Return when the socket may be read; at once where it may."""
        await self._off.wait()

    def _update(self) -> None:
        if self._full and not self._awaited:
            self._off.clear()
        else:
            self._off.set()


class Inbox:
    """What one subscription still has to read: rows, and gaps at their place where ``with_gaps`` is set.

    Nothing is refused above ``limit_rows``: the message that fills the queue is taken whole, then the brake is on.
    """

    def __init__(self, name: str, limit_rows: int, brake: Brake, *, with_gaps: bool = False) -> None:
        self.with_gaps = with_gaps
        self._name = name
        self._limit_rows = limit_rows
        self._brake = brake
        self._items: deque[Row | Gap] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: ArgusError | None = None
        self._said_full = False
        self._unbroken_rows = 0
        self._in_hand: Row | Gap | None = None
        self._put = 0

    @property
    def waiting(self) -> list[Row | Gap]:
        """What is not handled yet, oldest first. An item is handled when the next one is asked for."""
        return ([] if self._in_hand is None else [self._in_hand]) + list(self._items)

    @property
    def put_so_far(self) -> int:
        """How many items were ever put."""
        return self._put

    @property
    def handled_so_far(self) -> int:
        """How many items were ever handled."""
        return self._put - len(self.waiting)

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Row | Gap) -> None:
        """Append; ignored once the inbox has ended."""
        if self._ended:
            return
        self._items.append(item)
        self._put += 1
        if len(self._items) == self._limit_rows:
            self._brake.pull(self)
            if not self._said_full:
                self._said_full = True
                _log.info("the queue of %s is full (%d rows): reading pauses until half is read", self._name, len(self))
        self._wake()

    async def get(self) -> Row | Gap:
        """Take the oldest item, waiting for one if need be.

        Raises:
            StopAsyncIteration: the inbox was discarded.
            ArgusError: what ended the connection, after everything that came before it was read.
            RuntimeError: another task is waiting here already.
        """
        self._in_hand = None
        self._unbroken_rows += 1
        if self._unbroken_rows == YIELD_EVERY_ROWS:
            self._unbroken_rows = 0
            await asyncio.sleep(0)  # before the row is taken: a cancellation here must not lose it
        while not self._items:
            if self._error is not None:
                raise self._error.again()
            if self._ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("another task is reading this subscription already")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._in_hand = self._items.popleft()
        if len(self._items) == self._limit_rows // 2:
            self._brake.release(self)
        return item

    def end(self, error: ArgusError) -> None:
        """Take nothing more. What is queued can still be read; then the error is raised."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._brake.release(self)
            self._wake()

    def discard(self) -> None:
        """Forget what is queued, and end."""
        self._items.clear()
        self._in_hand = None
        self._ended = True
        self._error = None
        self._brake.release(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
