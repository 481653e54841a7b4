"""`connect`: the way in.

It can be awaited (``hub = await connect(url)``) or used as a context manager (``async with connect(url) as hub``).
"""

import asyncio
import logging
import ssl as tls
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Final

from argus_client.backoff import Backoff
from argus_client.callbacks import Callbacks, Reconnected
from argus_client.codec import Encoding
from argus_client.errors import ConnectError, ConnectionLost, HubError
from argus_client.hub import Hub
from argus_client.link import Link, Target
from argus_client.messages import Draining, Gap, Heartbeat, Slow
from argus_client.position import Position, check_position

QUEUE_ROWS: Final = 10_000
"""Bound of each subscription's queue: two whole-market batches of ticks, about 12 MB."""
OPEN_TIMEOUT_S: Final = 10.0

_log = logging.getLogger("argus_client")


class Connecting:
    """A connection that is about to be opened; see `connect`."""

    def __init__(self, target: Target, retries: Backoff | None, open_hub: Callable[[Link], Hub]) -> None:
        self._target = target
        self._retries = retries
        self._open_hub = open_hub
        self._hub: Hub | None = None

    def __await__(self) -> Generator[object, None, Hub]:
        return self._open().__await__()

    async def __aenter__(self) -> Hub:
        self._hub = await self._open()
        return self._hub

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._hub is not None:
            await self._hub.__aexit__(kind, error, traceback)

    async def _open(self) -> Hub:
        fruitless = 0
        while True:
            try:
                return self._open_hub(await Link.open(self._target))
            except ConnectError as error:
                if self._retries is None or not error.retryable:
                    raise
                _log.info("attempt %d: %s", fruitless + 1, error)
                await asyncio.sleep(self._retries.pause_s(fruitless))
                fruitless += 1


def connect(
    url: str,
    *,
    token: str | None = None,
    encoding: Encoding = "msgpack",
    queue_rows: int = QUEUE_ROWS,
    open_timeout_s: float = OPEN_TIMEOUT_S,
    ssl: tls.SSLContext | None = None,
    proxy: str | None = None,
    reconnect: bool | Backoff = True,
    retry_first: bool = False,
    resume: Position | None = None,
    on_gap: Callable[[Gap], object] | None = None,
    on_refused: Callable[[HubError], object] | None = None,
    on_slow: Callable[[Slow], object] | None = None,
    on_heartbeat: Callable[[Heartbeat], object] | None = None,
    on_draining: Callable[[Draining], object] | None = None,
    on_disconnect: Callable[[ConnectionLost], object] | None = None,
    on_reconnect: Callable[[Reconnected], object] | None = None,
) -> Connecting:
    """Connect to a hub, such as ``ws://127.0.0.1:8765/ws``.

    ``token`` travels in the ``Authorization`` header of the handshake, never in the URL. ``queue_rows`` bounds what
    each subscription holds of rows that have arrived and were not read; when one is full, reading from the socket
    pauses. ``open_timeout_s`` covers everything up to the hub's welcome. ``ssl`` is for ``wss://`` with
    certificates of one's own; ``proxy`` is the URL of a proxy, and those of the environment are not used, because
    a hub is usually near.

    A connection that breaks later is renewed after pauses of 0.5 to 20 s (a `Backoff` sets others), every
    subscription goes on where it was, and each row is handed over once; ``on_gap`` hears of what the hub could not
    give any more. ``reconnect=False`` ends everything with ConnectionLost instead. The first connection is not tried
    again, so that a wrong address is seen at once; with ``retry_first`` it is, after the same pauses and for as long as
    the error is ``retryable``. ``resume`` is what `Hub.position` returned before this program was restarted: every
    subscription goes on after it.

    ``on_refused`` hears of topics of a subscription that the hub's source can't give now (``upstream_limit``,
    ``unavailable``); the subscription stays, and their rows come when they can.

    The callbacks are plain functions that are called as soon as the message arrives, before rows that wait in queues;
    they must not block.

    Raises:
        ValueError: an argument can't be meant (at once).
        ConnectError: the connection could not be opened at first (when awaited or entered).
    """
    if queue_rows < 1:
        raise ValueError("queue_rows must be at least 1")
    target = Target(url, token, encoding, open_timeout_s, ssl, proxy)
    callbacks = Callbacks(on_gap, on_refused, on_slow, on_heartbeat, on_draining, on_disconnect, on_reconnect)
    backoff = (Backoff() if reconnect else None) if isinstance(reconnect, bool) else reconnect
    retries = (backoff or Backoff()) if retry_first else None
    start = None if resume is None else check_position(resume)
    return Connecting(target, retries, lambda link: Hub(link, target, callbacks, queue_rows, backoff, start))
