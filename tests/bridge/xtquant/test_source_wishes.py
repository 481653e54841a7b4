"""Single subscriptions over the real xtdata.py: shared, bounded, kept for a while, refused in words."""

from pathlib import Path

from hub.schema import CHANNELS
from tests.bridge.xtquant.support.running import Running, running
from tests.bridge.xtquant.support.terminal import TEN_MS, a_terminal, codes_of, tick

CODES = codes_of(10)
SECTORS = {"沪深A股": CODES, "两只": CODES[:2]}
NEWEST = {code: tick(TEN_MS) for code in CODES}
ONLY = {"sectors": ("沪深A股",), "universes": ("两只",)}


def want(run: Running, *topics: str) -> None:
    run.source.want(frozenset(topics))


def bar(time_ms: int, close: float = 10.0) -> dict[str, object]:
    """A pushed bar, with what was seen of uninitialised memory in it."""
    prices = {"open": 10.0, "high": 10.370000000000001, "low": 10.0, "close": close}
    return {"time": time_ms, **prices, "volume": 5, "amount": 5e3, "preClose": 6.95e-310, "suspendFlag": -80}


async def test_each_wish_is_one_subscription_however_many_topics_cover_it(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        want(
            run, "1m:600000.SH", "1m:@两只", "1m:60000*.SH", "tick:*", "tick:600001.SH", "status:*", "l2order:600000.SH"
        )
        await terminal.until(lambda: len(terminal.singles()) == 11)
        assert terminal.singles() == {(code, "1m") for code in CODES} | {("600000.SH", "l2order")}


async def test_a_tick_outside_the_sectors_is_subscribed_by_itself(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        want(run, "tick:113050.SH")
        await terminal.until(lambda: terminal.singles() == {("113050.SH", "tick")})
        terminal.push_single("113050.SH", "tick", [tick(TEN_MS, 101.123), tick(TEN_MS + 3000, 101.1234)])
        await run.sink.until(lambda: any(row[0] == "113050.SH" for row in run.sink.rows(is_state=True)))
        terminal.push_single("113050.SH", "tick", [tick(TEN_MS + 6000, 101.124)])
        await run.sink.until(run.sink.rows)
        assert run.sink.rows()[0][:3] == ("113050.SH", TEN_MS + 6000, 101.124)


async def test_bars_come_as_bars_and_their_repeats_do_not(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        want(run, "1m:600000.SH")
        await terminal.until(terminal.singles)
        for rows in ([bar(TEN_MS)], [bar(TEN_MS)], [bar(TEN_MS, 10.01)], [bar(TEN_MS, 10.01), bar(TEN_MS + 60_000)]):
            terminal.push_single("600000.SH", "1m", rows)
        await run.sink.until(lambda: len(run.sink.rows("1m")) == 2)
        assert run.sink.rows("1m", is_state=True) == [("600000.SH", TEN_MS, 10.0, 10.37, 10.0, 10.0, 5, 5000.0, None)]
        assert [(row[1], row[5]) for row in run.sink.rows("1m")] == [(TEN_MS, 10.01), (TEN_MS + 60_000, 10.0)]


async def test_equal_orders_of_level_2_are_two_and_never_a_state(folder: Path, tmp_path: Path) -> None:
    order = {"time": TEN_MS, "price": 10.370000000000001, "volume": 3, "entrustNo": 2**40, "entrustType": 0}
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        want(run, "l2order:600000.SH")
        await terminal.until(terminal.singles)
        terminal.push_single("600000.SH", "l2order", [order, order])
        await run.sink.until(lambda: len(run.sink.rows("l2order")) == 2)
        row = dict(zip(CHANNELS["l2order"].source_names, run.sink.rows("l2order")[0], strict=True))
        assert (row["price"], row["entrustNo"], row["entrustDirection"]) == (10.37, 2**40, None)
        assert type(row["entrustNo"]) is int


async def test_beyond_the_entitlement_a_wish_is_refused_until_there_is_room(folder: Path, tmp_path: Path) -> None:
    async with (
        a_terminal(SECTORS, ticks=NEWEST) as terminal,
        running(terminal, folder, tmp_path, **ONLY, max_subscriptions=3, grace_s=60.0) as run,
    ):
        await run.connected()
        want(run, "1m:600000.SH", "1m:600001.SH")
        await terminal.until(lambda: len(terminal.singles()) == 2)
        want(run, "1m:600000.SH", "1m:600001.SH", "5m:@两只")
        await run.sink.until(lambda: run.sink.refused == {"5m:@两只": "upstream_limit"})
        assert len(terminal.singles()) == 2, "a wish is met as a whole"
        want(run, "1m:600001.SH", "5m:@两只")  # the place of what nobody wants is needed
        await terminal.until(lambda: len(terminal.singles()) == 3)
        await run.sink.until(lambda: run.sink.refused == {})
        assert terminal.singles() == {("600001.SH", "1m"), ("600000.SH", "5m"), ("600001.SH", "5m")}


async def test_what_nobody_wants_is_kept_for_the_grace_time(folder: Path, tmp_path: Path) -> None:
    async with (
        a_terminal(SECTORS, ticks=NEWEST) as terminal,
        running(terminal, folder, tmp_path, **ONLY, grace_s=60.0, stale_after_s=3600) as run,
    ):
        await run.connected()
        want(run, "1m:600000.SH")
        await terminal.until(terminal.singles)
        want(run)
        run.clock.pass_s(59)
        await run.looked()
        assert terminal.singles() == {("600000.SH", "1m")}
        want(run, "1m:600000.SH")
        await run.looked()
        want(run)
        await run.looked()
        run.clock.pass_s(59)
        await run.looked()
        assert [call[0] for call in terminal.calls].count("single") == 1, "it was the same all the time"
        run.clock.pass_s(2)
        await terminal.until(lambda: not terminal.singles())


async def test_what_the_terminal_does_not_take_is_told_and_tried_again(folder: Path, tmp_path: Path) -> None:
    def refuse(code: str, period: str) -> int:
        if period == "l2quote":
            return -1
        raise RuntimeError("no permission")

    async with (
        a_terminal(SECTORS, ticks=NEWEST, answers={"single": refuse}) as terminal,
        running(terminal, folder, tmp_path, **ONLY, stale_after_s=3600) as run,
    ):
        await run.connected()
        want(run, "l2quote:600000.SH", "l2order:600000.SH")
        both = {"l2quote:600000.SH": "unavailable", "l2order:600000.SH": "unavailable"}
        await run.sink.until(lambda: run.sink.refused == both)
        tried = [call[0] for call in terminal.calls].count("single")
        await run.looked(3)
        assert [call[0] for call in terminal.calls].count("single") == tried == 2
        del terminal.answers["single"]
        run.clock.pass_s(61)
        await terminal.until(lambda: len(terminal.singles()) == 2)
        await run.sink.until(lambda: run.sink.refused == {})


async def test_a_new_connection_has_the_same_subscriptions(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        want(run, "1m:600000.SH")
        await terminal.until(terminal.singles)
        terminal.cut()
        await terminal.until(lambda: terminal.connections == 2 and terminal.singles())
        assert terminal.singles() == {("600000.SH", "1m")}


async def test_a_whole_market_of_bars_does_not_fit(folder: Path, tmp_path: Path) -> None:
    many = {"沪深A股": codes_of(60)}
    async with (
        a_terminal(many, ticks=NEWEST) as terminal,
        running(terminal, folder, tmp_path, sectors=("沪深A股",)) as run,
    ):
        await run.connected()
        want(run, "1m:*")
        await run.sink.until(lambda: run.sink.refused == {"1m:*": "upstream_limit"})
        assert terminal.singles() == set()
