"""The way out to the hub, as long as one connection lasts.

Requests leave no faster than the hub takes them, and none after the connection is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from argus_client.errors import ArgusError, HubError
from argus_client.messages import Welcome
from argus_client.pace import Pace

Request = Mapping[str, Any]
Send = Callable[[Request], Awaitable[None]]

RETRY_MS: Final = 1000
"""When to ask again where the hub does not say."""


class Gate:
    """Lets requests out to the hub that said ``welcome``."""

    def __init__(self, welcome: Welcome, send: Send) -> None:
        self.welcome: Final = welcome
        self._send = send
        self._pace = Pace.of(welcome.limits)
        self._why_shut: ArgusError | None = None

    @property
    def is_open(self) -> bool:
        """True while requests can be sent."""
        return self._why_shut is None

    def shut(self, why: ArgusError) -> None:
        """Let nothing out any more: whoever tries is told why."""
        self._why_shut = why

    async def turn(self) -> None:
        """Return when the next request may be sent. Raises what shut the gate."""
        self._check()
        pause_s = self._pace.take(asyncio.get_running_loop().time())
        if pause_s > 0:
            await asyncio.sleep(pause_s)
            self._check()

    async def send(self, request: Request) -> None:
        """Send a request, whose turn it is. Raises what shut the gate, or ConnectionLost."""
        self._check()
        await self._send(request)

    def hold(self, refusal: HubError) -> None:
        """Give no turn before the hub wants to be asked again."""
        retry_ms = RETRY_MS if refusal.retry_in_ms is None else refusal.retry_in_ms
        self._pace.hold(asyncio.get_running_loop().time() + retry_ms / 1000)

    def _check(self) -> None:
        if self._why_shut is not None:
            raise self._why_shut.again()
