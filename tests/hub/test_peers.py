"""When the socket of a peer is read: always, or not while what it brings would have to wait anyway."""

import asyncio
from typing import Any

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from hub.peers import DENSE_BYTES, PeerConnection

MUCH = bytes(DENSE_BYTES)


class Transport(asyncio.Transport):
    """The border to the socket: what would be asked of it is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ended = False
        self.asked: list[str] = []
        self.on_resume = asyncio.Event()

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")
        self.on_resume.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_ended


class Peer:
    """A connection for which nothing needs to be read for ``rest_s``."""

    def __init__(self, rest_s: float) -> None:
        self.taken: list[bytes] = []
        self.transport = Transport()
        protocol: Any = ServerProtocol()
        protocol.state, protocol.parser = OPEN, protocol.parse()
        next(protocol.parser)
        self.connection = PeerConnection(protocol, None)  # type: ignore[arg-type]  # as `hub.peers.Peers` makes it
        self.connection.request = Request("/feed", Headers())
        self.connection.connection_made(self.transport)
        self.connection.take_at_once = self._take
        self.connection.rest_s = lambda: rest_s

    def come(self, *messages: bytes) -> None:
        """Have the socket bring messages."""
        self.connection.data_received(b"".join(Frame(Opcode.BINARY, data).serialize(mask=True) for data in messages))

    def _take(self, message: bytes) -> bool:
        if message == b"wait":
            return False
        self.taken.append(message)
        return True


async def ten_ms() -> None:
    """Wait until what was due before has happened."""
    later = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, later.set)
    await later.wait()


async def test_a_socket_that_brings_much_is_left_alone_for_as_long_as_nothing_needs_to_be_read() -> None:
    peer = Peer(rest_s=0.001)
    peer.come(MUCH)
    assert peer.taken == [MUCH]  # what has come is taken nevertheless
    assert peer.transport.asked == ["pause"]
    await asyncio.wait_for(peer.transport.on_resume.wait(), 30)
    assert peer.transport.asked == ["pause", "resume"]


async def test_a_socket_that_brings_little_is_read_always() -> None:
    peer = Peer(rest_s=0.001)
    peer.come(b"1")
    peer.come(b"2", b"3")
    assert peer.taken == [b"1", b"2", b"3"]
    assert peer.transport.asked == []


async def test_a_socket_is_read_always_where_what_it_brings_is_wanted_now() -> None:
    peer = Peer(rest_s=0)
    peer.come(MUCH)
    assert peer.taken == [MUCH]
    assert peer.transport.asked == []


async def test_a_socket_that_has_ended_is_not_read_again() -> None:
    peer = Peer(rest_s=0.001)
    peer.come(MUCH)
    peer.connection.connection_lost(None)
    await ten_ms()
    assert peer.transport.asked == ["pause"]
    peer = Peer(rest_s=0.001)
    peer.come(MUCH)
    peer.transport.is_ended = True
    await ten_ms()
    assert peer.transport.asked == ["pause"]


async def test_a_socket_is_not_read_while_too_much_waits_for_recv() -> None:
    peer = Peer(rest_s=0.001)
    peer.come(MUCH, *[b"wait"] * 20)
    assert peer.connection.recv_messages.paused
    await ten_ms()
    assert "resume" not in peer.transport.asked
    while not peer.transport.on_resume.is_set():
        assert await peer.connection.recv() == b"wait"
