"""One client's connection after its handshake: bytes come in, messages go to its session, frames onto its wire.

It drives the pure half of the websockets library, which parses frames and does the closing handshake, by callbacks. The
library's own connection would add two tasks, their timers, a queue and the handshake's headers to every client:
half of what an idle one weighs, and half of what it takes to let one in.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, Protocol

from websockets.frames import CONT, DATA_OPCODES, PONG, TEXT, CloseCode, Frame
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from hub.outbox import Outbox
from hub.session import Session
from hub.wire import split_frames

WRITE_HIGH_BYTES: Final = 256 * 1024
WRITE_LOW_BYTES: Final = 64 * 1024
"""Bytes in a transport above which the outbox holds back, and below which it goes on."""
CLOSE_TIMEOUT_S: Final = 5.0
"""How long a closing connection may take to answer before it is aborted."""


class Keeper(Protocol):
    """What a connection tells the one who keeps it."""

    def on_message(self, connection: "HubConnection", message: str | bytes) -> None:
        """The client said something."""

    def on_pong(self, connection: "HubConnection") -> None:
        """The client is alive."""

    def on_paused(self, connection: "HubConnection") -> None:
        """The socket takes no more."""

    def on_resumed(self, connection: "HubConnection") -> None:
        """The socket takes data again."""

    def on_closing(self, connection: "HubConnection") -> None:
        """The closing handshake has begun; the client should end it."""

    def on_lost(self, connection: "HubConnection") -> None:
        """The connection has ended."""


class HubConnection(asyncio.Protocol):
    """A client that was let in.

    Args:
        protocol: the state of the conversation, open.
    """

    __slots__ = ("_is_text", "_keeper", "_parts", "outbox", "protocol", "session", "transport")

    outbox: Outbox
    session: Session

    def __init__(self, transport: asyncio.Transport, protocol: ServerProtocol, keeper: Keeper) -> None:
        self.transport = transport
        self.protocol = protocol
        self._keeper = keeper
        self._parts: bytearray | None = None  # of a message that comes in fragments
        self._is_text = False

    def data_received(self, data: bytes) -> None:
        """Take what came over the wire."""
        self.protocol.receive_data(data)
        frames = self.protocol.events_received()
        self.send_data()
        self.take(frames)

    def take(self, frames: Iterable[Event]) -> None:
        """Take frames in the order in which they came."""
        for frame in frames:
            assert isinstance(frame, Frame)  # noqa: S101 - there is one request, and it is answered
            if frame.opcode is PONG:
                self._keeper.on_pong(self)
            elif frame.opcode in DATA_OPCODES:
                self._take_data(frame)

    def eof_received(self) -> None:
        """The client says nothing any more; the transport closes itself."""
        self.protocol.receive_eof()
        self.send_data()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.protocol.receive_eof()
        self._keeper.on_lost(self)

    def pause_writing(self) -> None:
        """The transport holds enough: keep the rest in the outbox."""
        self.outbox.writable = False
        self._keeper.on_paused(self)

    def resume_writing(self) -> None:
        """The transport takes data again."""
        self.outbox.writable = True
        self._keeper.on_resumed(self)

    def write(self, frames: bytes) -> None:
        """Put whole frames on the wire, past the library: they are made once for everybody who gets them."""
        if not self.transport.is_closing():  # cut in this very turn: nobody was told yet, and uvloop would raise
            self.transport.write(frames)

    def write_compressed(self, frames: bytes) -> None:
        """Send frames through the library, which compresses each message."""
        for opcode, payload in split_frames(frames):
            if self.protocol.state is not State.OPEN:
                return
            if opcode == TEXT:
                self.protocol.send_text(payload)
            else:
                self.protocol.send_binary(payload)
            self.send_data()

    def ping(self) -> None:
        """Ask for a sign of life, unless it is closing: the library would still ping then, behind the stream's end."""
        if self.protocol.state is State.OPEN:
            self.protocol.send_ping(b"")
            self.send_data()

    def close(self, code: int, reason: str) -> None:
        """Begin to close the connection; nothing that waits is sent any more."""
        self.outbox.shut()
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason)
            self.send_data()

    def fail(self, code: int, reason: str) -> None:
        """Close the connection of a client from which no answer is to be expected."""
        self.protocol.fail(code, reason)
        self.send_data()

    def send_data(self) -> None:
        """Send what the protocol has to say; nothing may follow a close frame."""
        send_data(self.protocol, self.transport)
        if self.protocol.state is not State.OPEN:
            self.outbox.shut()
            self._keeper.on_closing(self)

    def _take_data(self, frame: Frame) -> None:
        """Put a message together. Its size is bounded by the protocol, its fragments weigh nothing but their bytes."""
        if frame.opcode is not CONT:
            self._is_text = frame.opcode is TEXT
        if self._parts is None and frame.fin:
            data = bytes(frame.data)
        else:
            if self._parts is None:
                self._parts = bytearray()
            self._parts += frame.data
            if not frame.fin:
                return
            data, self._parts = bytes(self._parts), None
        try:
            message = data.decode() if self._is_text else data
        except UnicodeDecodeError as error:
            self.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            return
        self._keeper.on_message(self, message)


def send_data(protocol: ServerProtocol, transport: asyncio.Transport) -> None:
    """Write what a protocol has to say; what is empty ends the stream."""
    for data in protocol.data_to_send():
        if transport.is_closing():
            return
        if data:
            transport.write(data)
        elif transport.can_write_eof():
            with suppress(OSError, RuntimeError):  # uvloop raises the latter where the line was cut meanwhile
                transport.write_eof()
