"""Connections that were not let in yet: from the first byte to the answer, and a few of them in each turn of the loop.

After a restart a thousand clients may come within a second. The costly part is to read a request and to make a client
of who sent it; so requests queue up, and between a few of them everybody else has a turn.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Final, cast

from websockets.http11 import Request
from websockets.protocol import Event

from hub.connection import WRITE_HIGH_BYTES, WRITE_LOW_BYTES, HubConnection, send_data
from hub.deadlines import Deadlines
from hub.door import Conversation, Door
from hub.peers import Peers

OPEN_TIMEOUT_S: Final = 10.0
"""How long a connection may take to send its request."""
MOST_OPENING: Final = 4096
"""Connections without a request yet: above it the oldest is cut off. More than a storm of clients has at once."""
BUDGET_S: Final = 0.005
"""Time that handshakes may use of one turn of the loop."""

_logger = logging.getLogger("argus.server")


class Handshake(asyncio.Protocol):
    """A connection that nothing is known of yet."""

    __slots__ = ("_reception", "conversation", "successor", "transport", "unread")

    transport: asyncio.Transport

    def __init__(self, reception: "Reception") -> None:
        self._reception = reception
        self.conversation: Conversation | None = None  # begins with the first byte
        self.successor: asyncio.Protocol | None = None  # who has the connection after the handshake
        self.unread = 0  # pieces of data that wait for their turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer is there."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.transport.set_write_buffer_limits(WRITE_HIGH_BYTES, WRITE_LOW_BYTES)
        self._reception.on_made(self)

    def data_received(self, data: bytes) -> None:
        """A piece of the request."""
        self._reception.on_data(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone, or was refused."""
        self._reception.on_lost(self)


class Reception:
    """Where connections of one server wait until they are answered.

    Args:
        admit: makes a client of a connection that may come in, and hands the connection to it.
        closing: who has to end its connection, since it was refused.
    """

    def __init__(
        self,
        door: Door,
        peers: Peers,
        admit: Callable[[asyncio.Transport, Conversation, Request], HubConnection],
        closing: Deadlines["HubConnection | Handshake"],
    ) -> None:
        self._door = door
        self._peers = peers
        self._admit = admit
        self._closing = closing
        self._opening: Deadlines[Handshake] = Deadlines(OPEN_TIMEOUT_S, self._cut)
        self._here: set[Handshake] = set()
        self._unread: deque[tuple[Handshake, bytes]] = deque()
        self._ended = False

    def make(self) -> Handshake:
        """What the event loop asks for every connection."""
        return Handshake(self)

    def end(self) -> None:
        """Cut off whoever is still here, and whoever comes."""
        self._ended = True
        self._opening.stop()
        for handshake in self._here:
            handshake.transport.abort()

    def __len__(self) -> int:
        return len(self._here)

    def on_made(self, handshake: Handshake) -> None:
        """Somebody has come. In the very turn in which the hub ends, that is too late."""
        self._here.add(handshake)
        if self._ended:
            handshake.transport.abort()
            return
        if len(self._opening) >= MOST_OPENING:
            oldest = self._opening.next
            self._opening.remove(oldest)
            oldest.transport.abort()
        self._opening.add(handshake)

    def on_data(self, handshake: Handshake, data: bytes) -> None:
        """Read it when it is its turn."""
        if not self._unread:
            asyncio.get_running_loop().call_soon(self._read_some)
        self._unread.append((handshake, data))
        handshake.unread += 1

    def on_lost(self, handshake: Handshake) -> None:
        """Nobody is there any more."""
        self._here.discard(handshake)
        self._opening.remove(handshake)
        self._closing.remove(handshake)

    def _cut(self, late: Sequence[Handshake]) -> None:
        for handshake in late:
            if handshake.unread:  # it is the hub that is late
                self._opening.add(handshake)
            else:
                handshake.transport.abort()

    def _read_some(self) -> None:
        deadline_s = perf_counter() + BUDGET_S
        while self._unread:
            handshake, data = self._unread.popleft()
            handshake.unread -= 1
            try:
                self._read(handshake, data)
            except Exception:  # the last barrier: what one sends must not keep the others out
                _logger.exception("a connection is cut off: what it sent could not be read")
                handshake.transport.abort()
            if perf_counter() > deadline_s:
                break
        if self._unread:
            asyncio.get_running_loop().call_soon(self._read_some)

    def _read(self, handshake: Handshake, data: bytes) -> None:
        if handshake.transport.is_closing():
            return
        if handshake.successor is not None:
            handshake.successor.data_received(data)
            return
        conversation = handshake.conversation
        if conversation is None:
            conversation = handshake.conversation = self._door.conversation()
        conversation.receive_data(data)
        events = conversation.events_received()
        if events and isinstance(events[0], Request):
            self._answer(handshake, conversation, events[0], events[1:])
        send_data(conversation, handshake.transport)
        if handshake.successor is None and conversation.close_expected() and handshake not in self._closing:
            self._opening.remove(handshake)
            self._closing.add(handshake)

    def _answer(
        self, handshake: Handshake, conversation: Conversation, request: Request, early: Sequence[Event]
    ) -> None:
        """Answer a request; who is let in has its connection from then on, and what it said already."""
        transport = handshake.transport
        endpoint = self._door.endpoint(request)
        if endpoint is None:
            response = self._door.answer(conversation, request)
        else:
            peer = self._peers.make(transport, conversation, request)
            refuse = partial(endpoint.refuse, peer, request.headers)
            response = self._door.answer_peer(conversation, request, endpoint, refuse)
        conversation.send_response(response)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            return
        send_data(conversation, transport)
        self._here.discard(handshake)
        self._opening.remove(handshake)
        if endpoint is None:
            connection = handshake.successor = self._admit(transport, conversation, request)
            request.headers.clear()  # the library's parser holds the request as long as the connection lives
            connection.take(early)
        else:
            handshake.successor = peer
            transport.set_protocol(peer)
            self._peers.serve(peer, endpoint)
            for frame in early:
                peer.process_event(frame)
