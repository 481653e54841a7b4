"""How users write it, for the type checker alone: ``mypy --strict`` on this file proves that rows are typed."""

from typing import Any, assert_type

from argus_client import Bar, Gap, Hub, Subscription, Tick, connect


def by_hand(tick: Tick) -> float:
    """A strategy's function: a field that there is not would be an error."""
    assert_type(tick.code, str)
    assert_type(tick.askPrice, list[float])
    assert_type(tick.topic, str)
    return tick.lastPrice - tick.lastClose


async def in_a_while(bar: Bar) -> None:
    """A callback for rows of another channel."""
    assert_type(bar.close, float)


async def use(url: str) -> None:
    """Every way to subscribe."""
    async with connect(url, on_gap=lambda gap: gap.cause) as hub:
        assert_type(hub, Hub)
        async for row in hub.subscribe("tick:600000.SH"):
            assert_type(row, Any)
        async for tick in hub.subscribe("tick:*", row=Tick, since={"time": 0}, mode="latest", interval_ms=500):
            assert_type(tick, Tick)
            by_hand(tick)
        async for item in hub.subscribe("1m:*", row=Bar, since="open", inline_gaps=True):
            assert_type(item, Bar | Gap)
        assert_type(await hub.on("tick:*", callback=by_hand), Subscription[Tick])
        assert_type(await hub.on("1m:*", callback=in_a_while), Subscription[Bar])
        assert_type(await hub.snapshot("tick:*", row=Tick), list[Tick])
        assert_type(await hub.snapshot("tick:*"), list[Any])
        assert_type((await hub.ping()).time, int)
    hub = await connect(url)
    async with hub.subscribe("tick:*", row=Tick) as ticks:
        assert_type(ticks, Subscription[Tick])
        assert_type(ticks.matched, int)
