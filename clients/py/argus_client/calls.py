"""Requests that are answered once: which are open, and who waits for the reply.

None outlives its connection. What a client wants to have for longer is an order; see `argus_client.orders`.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from argus_client.errors import ArgusError, HubError, ProtocolError
from argus_client.gate import Gate, Request
from argus_client.inbox import Brake
from argus_client.messages import Result, SnapshotDone
from argus_client.rows import Row

ResultT = TypeVar("ResultT", bound=Result)


@dataclass(slots=True)
class _Call:
    """Who waits for a reply, and the rows of a snapshot so far."""

    reply: asyncio.Future[Result]
    is_snapshot: bool
    rows: list[Row] = field(default_factory=list)


class Calls:
    """The open requests of a connection. ``ids`` numbers all that is sent, orders included."""

    def __init__(self, gate: Gate, ids: Iterator[int], brake: Brake) -> None:
        self.gate = gate
        self._ids = ids
        self._brake = brake
        self._open: dict[int | str | None, _Call] = {}

    async def ask(self, kind: type[ResultT], request: Request) -> tuple[ResultT, list[Row]]:
        """Send a request, and return its reply and the rows that came for it.

        Raises:
            HubError: the hub refused it.
            ConnectionLost: there is no connection, or it ended first.
            ProtocolError: the hub answered something else.
        """
        gate = self.gate
        await gate.turn()
        request_id = next(self._ids)
        call = self._open[request_id] = _Call(asyncio.get_running_loop().create_future(), kind is SnapshotDone)
        self._brake.expect(request_id)
        try:
            await gate.send({**request, "id": request_id})
        except BaseException:  # also a cancellation: a request that was not sent gets no reply
            self._open.pop(request_id, None)
            self._brake.settle(request_id)
            if not call.reply.cancel():  # where the connection ended meanwhile, its error counts as heard
                call.reply.exception()
            raise
        try:
            result = await call.reply
        finally:
            self._brake.settle(request_id)
        if not isinstance(result, kind):
            raise ProtocolError(f"the hub answered {request['op']} with {type(result).__name__}")
        return result, call.rows

    @property
    def collecting(self) -> bool:
        """Whether a snapshot is open."""
        return any(call.is_snapshot for call in self._open.values())

    def rows_for(self, request_id: int | str | None) -> list[Row] | None:
        """Where the rows of an open request are collected; None for any other."""
        call = self._open.get(request_id)
        return None if call is None else call.rows

    def answer(self, request_id: int | str | None, result: Result | HubError) -> bool:
        """Take a reply; False where none of these requests waits for it."""
        call = self._open.pop(request_id, None)
        if call is None:
            return False
        # At once, and not when whoever asked gets to run: until then much more could be read.
        self._brake.settle(request_id)
        if call.reply.done():  # whoever asked was cancelled meanwhile
            return True
        if isinstance(result, HubError):
            call.reply.set_exception(result)
        else:
            call.reply.set_result(result)
        return True

    def fail(self, error: ArgusError) -> None:
        """Note that no reply will come any more."""
        for request_id, call in self._open.items():
            self._brake.settle(request_id)
            if not call.reply.done():
                call.reply.set_exception(error.again())
        self._open.clear()
