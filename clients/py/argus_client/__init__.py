"""Python client of Argus Hub, a real-time tick hub for China's A-share market.

::

    async with connect("ws://127.0.0.1:8765/ws") as hub:
        async for tick in hub.subscribe("tick:600000.SH"):
            print(tick.code, tick.lastPrice)
"""

from argus_client.backoff import Backoff
from argus_client.callbacks import Reconnected
from argus_client.connecting import connect
from argus_client.errors import (
    ArgusError,
    CallbackError,
    ConnectError,
    ConnectionLost,
    HubError,
    ProtocolError,
    TopicError,
)
from argus_client.hub import Hub, RoundTrip
from argus_client.messages import Draining, Gap, Heartbeat, MarketHealth, Slow, TopicInfo, Welcome
from argus_client.position import Position
from argus_client.rows import Bar, Row, Status, Tick
from argus_client.subscription import Subscription
from argus_client.version import VERSION

__version__ = VERSION

__all__ = [
    "ArgusError",
    "Backoff",
    "Bar",
    "CallbackError",
    "ConnectError",
    "ConnectionLost",
    "Draining",
    "Gap",
    "Heartbeat",
    "Hub",
    "HubError",
    "MarketHealth",
    "Position",
    "ProtocolError",
    "Reconnected",
    "RoundTrip",
    "Row",
    "Slow",
    "Status",
    "Subscription",
    "Tick",
    "TopicError",
    "TopicInfo",
    "Welcome",
    "__version__",
    "connect",
]
