from datetime import datetime, time
from types import SimpleNamespace
from typing import Any

import pytest

from argus_client.columns import SHANGHAI
from argus_client.messages import TopicInfo
from argus_client.since import parse_since, resolve_since


def at(year: int, month: int, day: int, hour: int, minute: int) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=SHANGHAI).timestamp() * 1000)


class Hub:
    """As much of a hub as is asked: which topics there are, and what it said of its time."""

    def __init__(self, *newest_ms: int) -> None:
        self.asked: list[str] = []
        self.welcome = SimpleNamespace(time=at(2026, 11, 21, 8, 0))
        self._newest_ms = newest_ms

    async def topics(self, pattern: str) -> list[TopicInfo]:
        self.asked.append(pattern)
        return [TopicInfo("tick:A.SH", 1, newest) for newest in self._newest_ms]


@pytest.mark.parametrize(
    ("text", "since"),
    [("none", "none"), ("open", "open"), ("0", 0), ("1654046100000", 1654046100000), ("09:30:00", time(9, 30))],
)
def test_every_way_to_say_since_when_is_read(text: str, since: object) -> None:
    assert parse_since(text) == since


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1654046100", "1654046100 looks like seconds; give epoch milliseconds"),
        ("opne", "'opne' is none of: none, open, epoch milliseconds, HH:MM:SS in Shanghai"),
        ("9:30:00", "is none of"),
        ("09:30", "is none of"),
        ("-5", "is none of"),
        ("25:00:00", "hour must be in 0..23"),
    ],
)
def test_anything_else_is_an_error_that_says_what_is_possible(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_since(text)


@pytest.mark.parametrize(("since", "sent"), [("none", "none"), ("open", "open"), (None, None), (5, {"time": 5})])
async def test_words_and_numbers_go_to_the_hub_without_a_question(since: Any, sent: object) -> None:
    hub: Any = Hub()
    assert await resolve_since(hub, ["tick:*"], since) == sent
    assert hub.asked == []


async def test_a_time_of_day_is_on_the_day_of_the_newest_row() -> None:
    hub: Any = Hub(at(2022, 6, 1, 9, 15), at(2022, 6, 2, 0, 30), at(2022, 6, 1, 15, 0))
    assert await resolve_since(hub, ["tick:A.SH", "1m:*"], time(9, 30)) == {"time": at(2022, 6, 2, 9, 30)}
    assert hub.asked == ["tick:A.SH", "1m:*"]


async def test_without_any_row_a_time_of_day_is_on_the_hubs_day() -> None:
    hub: Any = Hub()
    assert await resolve_since(hub, ["tick:*"], time(9, 30)) == {"time": at(2026, 11, 21, 9, 30)}
