"""A hub made of fixed answers, put behind the page's WebSocket in the browser: it can close and fall silent at will."""

import asyncio
import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final

from playwright.async_api import Page, WebSocketRoute

from tests.e2e.support.browser import PATIENCE_MS

HEARTBEAT_S: Final = 5


class ScriptedHub:
    """Stands in for the hub at the page's WebSocket, and answers as a hub with these instruments would.

    ``subscribed`` is what the page observes now, ``refuses`` how many of its next requests come too often.
    """

    def __init__(
        self, codes: list[str], *, rows: list[dict[str, Any]] | None = None, source: str = "xtquant", market: str = "SH"
    ) -> None:
        self.connections = 0
        self.subscribed: set[str] = set()
        self.is_mute = False
        self.refuses = 0
        self._codes = codes
        self._rows = rows or []
        self._source = source
        self._market = market
        self._route: WebSocketRoute
        self._happened = asyncio.Event()

    async def open(self, page: Page, url: str) -> None:
        """Open the page that a real hub serves, with this one behind its WebSocket."""
        await page.route_web_socket("**/ws", self._connect)
        await page.goto(url)

    async def close(self, code: int, reason: str = "") -> None:
        await self._route.close(code=code, reason=reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the page has asked for what makes the condition true."""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while not condition():
                self._happened.clear()
                await self._happened.wait()

    def _connect(self, route: WebSocketRoute) -> None:
        self.connections += 1
        self.subscribed = set()
        self._route = route
        route.on_message(self._answer)
        self._say(
            type="welcome", server="scripted", epoch="0123456789abcdef", heartbeat_s=HEARTBEAT_S,
            source={"name": self._source, "simulated": False}, schemas={"tick": [], "status": []},
            limits={"topics": 1000},
        )  # fmt: skip
        self._say(type="heartbeat", markets={self._market: {"phase": "continuous", "state": "live", "age_ms": 900}})

    def _answer(self, message: str | bytes) -> None:
        if self.is_mute:
            return
        request = json.loads(message)
        op, request_id = request["op"], request["id"]
        if self.refuses > 0:
            self.refuses -= 1
            refusal = {"code": "rate_limited", "message": "too many requests", "retryable": True, "retry_in_ms": 50}
            self._say(type="error", id=request_id, **refusal)
            return
        if op == "topics":
            topics = [f"tick:{code}" for code in self._codes]
            found = [{"topic": topic} for topic in topics if fnmatchcase(topic, request["pattern"])]
            self._say(type="topics", id=request_id, topics=found)
        elif op == "subscribe":
            self.subscribed.update(request["topics"])
            self._say(type="subscribed", id=request_id)
            if request["topics"] != ["status:*"] and self._rows:
                self._say(type="data", channel="tick", origin="snapshot", id=request_id, rows=self._rows)
        elif op == "unsubscribe":
            self.subscribed.difference_update(request["topics"])
            self._say(type="unsubscribed", id=request_id)
        elif op == "auth":
            self._say(type="authenticated", id=request_id)
        self._happened.set()

    def _say(self, **message: Any) -> None:
        self._route.send(json.dumps(message))
