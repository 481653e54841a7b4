"""What goes wrong between the exchange and the hub is told to every client at its place, now and whenever it asks."""

from pathlib import Path
from typing import Any, Final

from argus_client import Gap, connect
from argus_client.ledger import FromTime
from tests.e2e.support.account import Account
from tests.e2e.support.fault_proxy import FaultProxy
from tests.e2e.support.fed_hub import FedHub, fed_hub
from tests.e2e.support.plain_client import Control, Data
from tests.e2e.support.scripted_feeder import TEN_MS, Event, Missing, scripted_feeder, tick

CODE: Final = "600000.SH"
OTHER: Final = "000001.SZ"
WHOLE_DAY: Final = FromTime(time=0)


class Everybody:
    """A live client, one that is away and resumes, and those that come later: all have the same stream and gaps."""

    def __init__(self, fed: FedHub) -> None:
        self._fed = fed
        self._live = Account(fed.given, since=WHOLE_DAY)
        self._away = Account(fed.given, since=WHOLE_DAY)

    async def follow(self, story: Any) -> None:
        """Have a story happen (a coroutine), and check what each of them is told of it."""
        fed = self._fed
        async with fed.client(self._away, "msgpack") as client:
            await self._away.read_all(client)
        async with fed.client(self._live) as client:
            await self._live.read_all(client)
            await story
            await self._live.read_all(client)
        newcomers = [Account(fed.given, since=WHOLE_DAY), Account(fed.given, since="open")]
        for account in (self._away, *newcomers):
            async with fed.client(account) as client:
                await account.read_all(client)
        assert await replayed(fed) == fed.given.events

    async def come_back(self) -> None:
        """They come back later, to another hub process perhaps, and nothing has changed."""
        fed = self._fed
        for account in (self._live, self._away, Account(fed.given, since="open")):
            async with fed.client(account) as client:
                await account.read_all(client)
        assert await replayed(fed) == fed.given.events


async def replayed(fed: FedHub) -> list[Event]:
    """Rows and gaps of a replay of everything."""
    events: list[Event] = []
    async with fed.client() as client:
        await client.send("replay", id="all", topics=["tick:*"])
        message: Control = {}
        while message.get("type") != "replay_done":
            one = await client.receive()
            message = {} if isinstance(one, Data) else one
            if isinstance(one, Data):
                events += one.rows
            elif one["type"] == "gap":
                events.append(Missing(one["topic"], one["from_time"], one["to_time"]))
    assert message["complete"], "no row is missing that the hub ever had"
    return events


async def go_away_and_come_back(fed: FedHub) -> None:
    newest_ms = fed.given.rows[-1][2]
    await fed.feeder.say("status", state="away", reason="the terminal was closed")
    await fed.feeder.say("status", state="connected")
    back_ms = newest_ms + 60_000
    fed.given.add_gap("tick:*", newest_ms, back_ms)
    await fed.feeder.feed([tick(CODE, back_ms, 900), tick(OTHER, back_ms, 901)])
    await fed.feeder.feed([tick(CODE, back_ms + 3_000, 902)])


async def test_a_source_that_was_away_is_one_gap_at_its_place_live_and_in_open_resume_and_replay(
    tmp_path: Path,
) -> None:
    async with fed_hub(tmp_path) as fed:
        everybody = Everybody(fed)
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await everybody.follow(go_away_and_come_back(fed))
        await fed.kill()
        await fed.start()
        await everybody.come_back()


async def test_a_source_that_is_away_is_seen_in_its_status_and_makes_the_hub_not_ready(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed, fed.client() as client:
        await client.request("subscribed", "subscribe", id=1, topics=["status:source.*"], since="none")
        await fed.feeder.feed_ticks([CODE])
        await fed.feeder.say("status", state="away", reason="the terminal was closed")
        (data,) = await client.data(1)
        assert (data.rows[0][0], data.rows[0][4], data.rows[0][7]) == (
            "source.scripted",
            "away",
            "the terminal was closed",
        )
        page = fed.hub.get("/readyz")
        assert page.status == 503
        assert "the source scripted is away: the terminal was closed" in page.body
        await fed.feeder.say("status", state="connected")
        (data,) = await client.data(1)
        assert data.rows[0][4] == "connected"
        assert fed.hub.get("/readyz").status == 200


async def another_run(fed: FedHub) -> None:
    newest_ms = fed.given.rows[-1][2]
    await fed.kill_feeder()
    await fed.enter_feeder("run-b")
    assert fed.feeder.welcome["batch"] == 0
    fed.given.add_gap("tick:*", newest_ms, newest_ms + 30_000)
    await fed.feeder.feed([tick(OTHER, newest_ms + 30_000, 900)])


async def test_a_feeder_that_was_killed_and_runs_anew_leaves_a_gap_and_the_epoch_goes_on(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        everybody = Everybody(fed)
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await everybody.follow(another_run(fed))


async def fed_over_a_line_that_is_cut(fed: FedHub) -> None:
    await fed.kill_feeder()
    proxy = FaultProxy.before(f"ws://127.0.0.1:{fed.hub.port}/feed")
    async with proxy.serve():
        for _ in range(5):
            async with scripted_feeder(proxy.url, fed.given) as feeder:
                await feeder.send_again(back=4)
                for number in range(20):
                    await feeder.put([tick(CODE, TEN_MS + fed.given.row_count * 3, fed.given.row_count + number)])
                proxy.cut()
                await feeder.closed()
    await fed.enter_feeder()
    await fed.feeder.send_again(back=30)


async def test_rows_that_a_feeder_sends_again_after_a_reconnect_come_once_and_without_a_gap(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await Everybody(fed).follow(fed_over_a_line_that_is_cut(fed))
        assert fed.given.gaps == 0
        assert fed.given.row_count == 6 + 100


async def rows_again_in_new_batches(fed: FedHub) -> None:
    rows = [tick(CODE, TEN_MS + 1_000_000, 1), tick(OTHER, TEN_MS + 1_000_000, 2)]
    await fed.feeder.feed(rows)
    await fed.feeder.put(rows, counted=False)  # the whole batch
    await fed.feeder.put([rows[0], rows[0]], counted=False)
    newer = tick(CODE, TEN_MS + 1_003_000, 3)
    fed.given.add(newer, TEN_MS * 1000 + 77)
    await fed.feeder.put([*rows, newer, newer], TEN_MS * 1000 + 77, counted=False)
    await fed.feeder.acknowledged()


async def test_rows_that_a_source_repeats_come_once(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        everybody = Everybody(fed)
        await everybody.follow(rows_again_in_new_batches(fed))
        await fed.kill()
        await fed.start()
        # Only the journal knows them now, the newest of its topic and older ones.
        await fed.feeder.put([tick(CODE, TEN_MS + 1_003_000, 3)], counted=False)
        await fed.feeder.put([(row[0], row[2], *row[4:]) for row in fed.given.rows], counted=False)
        await fed.feeder.acknowledged()
        await everybody.come_back()


async def test_a_feeder_that_had_to_drop_batches_leaves_a_gap_where_they_are_missing(tmp_path: Path) -> None:
    async def drop(fed: FedHub) -> None:
        newest_ms = fed.given.rows[-1][2]
        first = fed.feeder.number + 1
        fed.feeder.number += 7
        await fed.feeder.say(
            "dropped",
            **{"from": first, "to": fed.feeder.number, "from_time": newest_ms, "to_time": newest_ms + 21_000},
        )
        fed.given.add_gap("tick:*", newest_ms, newest_ms + 21_000)
        await fed.feeder.feed([tick(CODE, newest_ms + 21_000, 900)])
        # Only some topics, and of a source that knows no times.
        fed.feeder.number += 1
        one = fed.feeder.number
        await fed.feeder.say("dropped", **{"from": one, "to": one}, topics=["tick:*.SZ"])
        fed.given.add_gap("tick:*.SZ", None, None)
        await fed.feeder.feed([tick(OTHER, newest_ms + 24_000, 901)])

    async with fed_hub(tmp_path) as fed:
        everybody = Everybody(fed)
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await everybody.follow(drop(fed))
        await fed.kill()
        await fed.start()
        await everybody.come_back()


async def test_batches_that_are_missing_without_a_word_leave_a_gap(tmp_path: Path) -> None:
    async def skip(fed: FedHub) -> None:
        newest_ms = fed.given.rows[-1][2]
        fed.feeder.number += 3
        fed.given.add_gap("tick:*", newest_ms, newest_ms + 12_000)
        await fed.feeder.feed([tick(CODE, newest_ms + 12_000, 900)])

    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await Everybody(fed).follow(skip(fed))


async def test_rows_that_come_late_are_delivered_and_announced_before_the_first_of_them(tmp_path: Path) -> None:
    async def come_late(fed: FedHub) -> None:
        await fed.feeder.feed([tick(CODE, TEN_MS + 60_000, 900), tick(OTHER, TEN_MS + 60_000, 901)])
        on_time = tick(OTHER, TEN_MS + 63_000, 902)
        late = [tick(CODE, TEN_MS + 30_000 + number * 3_000, 800 + number) for number in range(3)]
        fed.given.add(on_time, 5)
        fed.given.add_gap(f"tick:{CODE}", TEN_MS + 30_000, TEN_MS + 60_000)
        for row in late:
            fed.given.add(row, 5)
        await fed.feeder.put([on_time, *late], 5, counted=False)
        await fed.feeder.acknowledged()

    async with fed_hub(tmp_path) as fed:
        everybody = Everybody(fed)
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await everybody.follow(come_late(fed))
        assert [row[2] for row in fed.given.of(CODE)][-1] == TEN_MS + 36_000


async def test_two_different_rows_with_one_code_and_time_are_both_delivered(tmp_path: Path) -> None:
    """The exchanges do that: 64 pairs on one day in Shanghai."""

    async def twins(fed: FedHub) -> None:
        time_ms = TEN_MS + 60_000
        await fed.feeder.feed([tick(CODE, time_ms, 900), tick(CODE, time_ms, 901)])  # in one batch
        await fed.feeder.feed([tick(OTHER, time_ms, 902)])
        await fed.feeder.feed([tick(OTHER, time_ms, 903)])  # in two
        await fed.feeder.put([tick(OTHER, time_ms, 902), tick(CODE, time_ms, 901)], counted=False)
        await fed.feeder.acknowledged()

    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await Everybody(fed).follow(twins(fed))
        assert fed.given.gaps == 0


async def test_a_gap_of_the_source_reaches_a_python_client_among_its_rows(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=2)
        async with (
            connect(fed.hub.ws_url) as client,
            client.subscribe("tick:*", since=WHOLE_DAY, inline_gaps=True) as items,
        ):
            got: list[Any] = [await anext(items) for _ in range(4)]
            await go_away_and_come_back(fed)
            got += [await anext(items) for _ in range(4)]
        (gap,) = (item for item in got if isinstance(item, Gap))
        assert (gap.cause, gap.topic, gap.from_seq, gap.to_seq) == ("upstream", "tick:*", None, None)
        assert [
            Missing(item.topic, item.from_time, item.to_time) if isinstance(item, Gap) else item.seq for item in got
        ] == [event if isinstance(event, Missing) else event[1] for event in fed.given.events]
