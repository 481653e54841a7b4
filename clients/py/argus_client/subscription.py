"""A subscription as the user holds it: an asynchronous iterator over its inbox.

The callback face (``hub.on``) iterates the same object, so that both see the same rows under the same bound.
"""

import asyncio
import weakref
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from argus_client.inbox import Inbox
from argus_client.ledger import Order
from argus_client.messages import Subscribed
from argus_client.position import Position
from argus_client.session import Session

ItemT = TypeVar("ItemT", covariant=True)


class Subscription(Generic[ItemT]):
    """Rows of some topics, in order. Made by ``hub.subscribe``; it begins when it is first awaited or iterated.

    Three ways to use it::

        async for tick in hub.subscribe("tick:600000.SH"): ...      # begins here, ends when the loop is left
        async with hub.subscribe("tick:600000.SH") as ticks: ...    # begins and ends with the block
        ticks = await hub.subscribe("tick:600000.SH")               # begins here; ends with `unsubscribe`

    It goes on where it was after the hub has been away. Iterating raises what ended the connection for good, after all
    rows that came before; it stops without an error only after `unsubscribe` or the user's own ``hub.close``. A
    subscription is used once, by one task at a time.
    """

    def __init__(self, session: Session, order: Order, inbox: Inbox, resume: Position | None) -> None:
        self._session = session
        self._resume = resume
        self._order = order
        self._inbox = inbox
        self._turn = asyncio.Lock()
        self._reply: Subscribed | None = None
        self._over = False
        self._finalizer: weakref.finalize[..., Self] | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics as they were asked for."""
        return self._order.topics.texts

    @property
    def matched(self) -> int:
        """How many topics existed and matched when the subscription began."""
        return self._begun.matched

    @property
    def recovered(self) -> bool:
        """Whether history reached back to where ``since`` asked to begin, for every topic."""
        return self._begun.recovered

    @property
    def unrecovered(self) -> Sequence[str]:
        """The topics for which it did not."""
        return self._begun.unrecovered

    @property
    def replayed(self) -> int:
        """How many rows of history come before the live ones."""
        return self._begun.replayed

    @property
    def queued(self) -> int:
        """How many rows have arrived and wait to be read."""
        return len(self._inbox)

    async def unsubscribe(self) -> None:
        """End the subscription. Rows that wait to be read are discarded, and iteration stops. Idempotent."""
        async with self._turn:
            if self._over:
                return
            self._over = True
            self._release_finalizer()
            if self._reply is not None:
                await self._session.unsubscribe(self._inbox)

    def __repr__(self) -> str:
        state = "ended" if self._over else "not begun" if self._reply is None else f"{self.queued} rows queued"
        return f"Subscription({', '.join(self.topics)}: {state})"

    def __await__(self) -> Generator[object, None, Self]:
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError) and self._reply is not None and not self._over:
            # Whoever cancels does not want to wait for the hub.
            self._over = True
            self._release_finalizer()
            self._session.abandon(self._inbox)
        else:
            await self.unsubscribe()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ItemT:
        if self._reply is None:
            await self._begin()
        return cast("ItemT", await self._inbox.get())

    @property
    def _begun(self) -> Subscribed:
        if self._reply is None:
            raise RuntimeError("not known before the subscription has begun: await it, or use `async with`")
        return self._reply

    async def _begin(self) -> Self:
        async with self._turn:
            if self._reply is None:
                if self._over:
                    raise RuntimeError("this subscription has ended: make a new one")
                self._over = True  # unless the hub accepts it
                self._reply = await self._session.subscribe(self._inbox, self._order, self._resume)
                self._over = False
                # Who leaves an `async for` over a nameless subscription can't end it, and its full queue would
                # brake all others: what nobody can read any more is ended for them.
                loop = asyncio.get_running_loop()
                self._finalizer = weakref.finalize(self, _abandon, loop, self._session, self._inbox)
                self._finalizer.atexit = False
        return self

    def _release_finalizer(self) -> None:
        if self._finalizer is not None:
            self._finalizer.detach()


def _abandon(loop: asyncio.AbstractEventLoop, session: Session, inbox: Inbox) -> None:
    # The garbage collector may run in any thread, and after the loop.
    if not loop.is_closed():
        loop.call_soon_threadsafe(session.abandon, inbox)
