"""Where ``argus tail --since`` begins: words, epoch milliseconds, or a time of the market's day."""

import re
from datetime import datetime, time
from typing import Final, Literal

from argus_client.columns import SHANGHAI
from argus_client.hub import Hub
from argus_client.ledger import FromTime

SinceArgument = Literal["none", "open"] | int | time

_SMALLEST_MS: Final = 100_000_000_000
"""The year 1973 in milliseconds, and the year 5138 in seconds: a number below it was meant as seconds."""


def parse_since(text: str) -> SinceArgument:
    """Read ``none``, ``open``, epoch milliseconds or HH:MM:SS. Raises ValueError with words for the user."""
    if text == "none":
        return "none"
    if text == "open":
        return "open"
    if text.isascii() and text.isdigit():
        if 0 < int(text) < _SMALLEST_MS:
            raise ValueError(f"{text} looks like seconds; give epoch milliseconds")
        return int(text)
    if re.fullmatch(r"\d\d:\d\d:\d\d", text, re.ASCII):
        return time.fromisoformat(text)
    raise ValueError(f"{text!r} is none of: none, open, epoch milliseconds, HH:MM:SS in Shanghai")


async def resolve_since(
    hub: Hub, topics: list[str], since: SinceArgument | None
) -> Literal["none", "open"] | FromTime | None:
    """Turn the argument into what the hub understands.

    A time of day is on the day of the newest row that the topics have: with a recording, or in the night, that is
    not the day on the calendar.
    """
    if isinstance(since, int):
        return {"time": since}
    if not isinstance(since, time):
        return since
    newest_ms = [info.time for topic in topics for info in await hub.topics(topic)]
    day = datetime.fromtimestamp(max(newest_ms, default=hub.welcome.time) / 1000, SHANGHAI).date()
    return {"time": int(datetime.combine(day, since, SHANGHAI).timestamp() * 1000)}
