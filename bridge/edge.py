"""Runs an edge: one hub after the other, for whenever the feed has another history it has to begin anew."""

import asyncio
from importlib.metadata import version

from bridge.edgeapp import EdgeApp
from bridge.listening import StartError
from bridge.relay.beginning import Beginning, ShardsDifferError, wait_for_beginning
from bridge.relay.boundary import Relay
from bridge.relay.turn import Position
from hub.metrics import Metrics
from hub.settings import Settings


async def run_edge(settings: Settings, relay: Relay, stopped: asyncio.Event) -> None:
    """Follow the feed and serve clients until ``stopped``.

    Raises:
        StartError: something outside is in the way.
    """
    lost: Position | None = None
    while (beginning := await _begin(relay, settings.warm_rows, stopped, lost)) is not None:
        app = EdgeApp(settings, relay, beginning, Metrics(version("argus-hub")), lost=lost is not None)
        port = await app.run(stopped)
        if app.ended is None:
            return
        settings, lost = settings.model_copy(update={"port": port}), app.ended.lost


async def _begin(relay: Relay, warm_rows: int, stopped: asyncio.Event, lost: Position | None) -> Beginning | None:
    try:
        return await wait_for_beginning(relay, warm_rows, stopped, lost)
    except ShardsDifferError as error:
        raise StartError(str(error)) from None
