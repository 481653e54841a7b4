"""Runs an edge: one hub after the other, for whenever the feed has another history it has to begin anew."""

import asyncio
import logging
from importlib.metadata import version

from bridge.edgeapp import EdgeApp
from bridge.listening import StartError
from bridge.relay.beginning import Beginning, ShardsDifferError, wait_for_beginning
from bridge.relay.boundary import Relay
from bridge.relay.position import Position
from bridge.relay.share import Share, share_of, whole
from hub.metrics import Metrics
from hub.serving import Serving
from hub.settings import Settings

_logger = logging.getLogger("argus")


async def run_edge(settings: Settings, relay: Relay, stopped: asyncio.Event) -> None:
    """Follow the feed and serve clients until ``stopped``.

    Raises:
        StartError: something outside is in the way.
    """
    lost: Position | None = None
    serving, share = None, whole(relay.shards)
    if settings.edge_topics:
        serving = Serving(settings.edge_topics, settings.universes)
        share = share_of(serving.names, serving.has, relay.shards)
        counts = len(serving.names), len(share.shards), relay.shards
        _logger.info("topics served: %d; shards taken: %d of %d", *counts)
    while (beginning := await _begin(relay, share, settings.warm_rows, stopped, lost)) is not None:
        metrics = Metrics(version("argus-hub"))
        app = EdgeApp(settings, relay, share, serving, beginning, metrics, lost=lost is not None)
        port = await app.run(stopped)
        if app.ended is None:
            return
        settings, lost = settings.model_copy(update={"port": port}), app.ended.lost


async def _begin(
    relay: Relay, share: Share, warm_rows: int, stopped: asyncio.Event, lost: Position | None
) -> Beginning | None:
    try:
        return await wait_for_beginning(relay, share, warm_rows, stopped, lost)
    except ShardsDifferError as error:
        raise StartError(str(error)) from None
