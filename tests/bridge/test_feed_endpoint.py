"""The hub's end of feeding, over a real socket: who is let in, what is taken, and what the feeder is told."""

import asyncio
from typing import Any

import pytest

import bridge.feed.endpoint
from bridge.feed.lineage import Lineage
from bridge.feed.messages import Hello
from bridge.source import Batch, Interruption, SourceState, SourceStatus
from hub.schema import CHANNELS
from tests.bridge.support.feeding import TEN_MS, fed_hub, no_task_is_left, plain_feeder, rows_of
from tests.hub.support.served_hub import UPGRADE, ask, until

CONNECTED = SourceStatus(SourceState.CONNECTED)


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> Any:
    with no_task_is_left():
        yield


async def test_batches_come_through_in_order_with_their_numbers_and_are_acknowledged_when_stored() -> None:
    async with fed_hub(stores=False) as fed, plain_feeder(fed.url) as feeder:
        welcome = await feeder.hello()
        assert welcome == {"type": "welcome", "run": "run-a", "batch": 0, "want": []}
        for number in (1, 2, 3):
            await feeder.batch(number)
        await fed.sink.until(lambda: fed.sink.numbers == [1, 2, 3])
        assert fed.sink.stream[0] == "run-a"
        assert fed.sink.batches[1] == Batch("tick", rows_of(2), 17, 2)
        fed.source.stored(2)
        assert await feeder.receive() == {"type": "ack", "batch": 2}
        fed.source.stored(3)
        assert await feeder.receive() == {"type": "ack", "batch": 3}


async def test_acknowledgements_of_one_turn_travel_as_one() -> None:
    async with fed_hub(stores=False) as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        for number in range(1, 6):
            await feeder.batch(number)
        await fed.sink.until(lambda: len(fed.sink.numbers) == 5)
        for number in range(1, 6):
            fed.source.stored(number)
        assert await feeder.receive() == {"type": "ack", "batch": 5}
        fed.source.stored(4)  # nothing new
        fed.source.want(frozenset({"tick:*"}))
        assert await feeder.receive() == {"type": "want", "want": ["tick:*"]}


async def test_what_is_not_taken_yet_is_never_acknowledged() -> None:
    async with fed_hub(stores=False) as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.batch(1)
        await fed.sink.until(lambda: fed.sink.numbers)
        fed.source.stored(400)  # of the run before, whose flush came late
        fed.source.stored(1)
        assert await feeder.receive() == {"type": "ack", "batch": 1}


async def test_a_feeder_is_sent_away_while_batches_may_not_be_numbered_and_begins_after_the_last_stored() -> None:
    async with fed_hub(stores=False) as fed:
        async with plain_feeder(fed.url) as feeder:
            await feeder.hello()
            await feeder.batch(1)
            await fed.sink.until(lambda: fed.sink.numbers == [1])
            fed.source.published("run-of-old", 1)  # which had a batch 1 as well
            assert fed.source.stored_batch == 0
            fed.source.published("run-a", 1)
            fed.source.may_take = lambda: False
            await feeder.batch(2)
            assert await feeder.receive() == {"type": "ack", "batch": 1}
            assert (await feeder.closed())[0] == 1012
        async with plain_feeder(fed.url) as feeder:
            await feeder.say(op="hello", source="scripted", run="run-a", simulated=False, channels=["tick"])
            assert (await feeder.receive())["code"] == "restart"
            assert (await feeder.closed())[0] == 1012
        fed.source.may_take = lambda: True
        async with plain_feeder(fed.url) as feeder:
            assert (await feeder.hello())["batch"] == 1
            await feeder.batch(2)
            await fed.sink.until(lambda: fed.sink.numbers == [1, 2])


async def test_what_is_wanted_is_in_the_welcome_and_told_when_it_changes() -> None:
    async with fed_hub() as fed:
        fed.source.want(frozenset({"tick:b.SH", "tick:a.SH"}))
        async with plain_feeder(fed.url) as feeder:
            assert (await feeder.hello())["want"] == ["tick:a.SH", "tick:b.SH"]
            fed.source.want(frozenset())
            assert await feeder.receive() == {"type": "want", "want": []}


async def test_the_welcome_tells_the_newest_row_of_the_history_and_the_last_stored_batch() -> None:
    async with fed_hub(run="run-a", batch=41, newest=(TEN_MS, 99)) as fed, plain_feeder(fed.url) as feeder:
        welcome = await feeder.hello()
        assert (welcome["batch"], welcome["newest"]) == (41, {"time": TEN_MS, "recv": 99})
    async with fed_hub(run="run-a", batch=41, newest=(TEN_MS, 99)) as fed, plain_feeder(fed.url) as feeder:
        assert (await feeder.hello("run-b"))["batch"] == 0


async def test_the_same_run_goes_on_after_what_is_there_already() -> None:
    """What is sent again because its acknowledgement got lost is neither taken twice nor left unacknowledged."""
    async with fed_hub(run="run-a", batch=2, newest=(TEN_MS, 99)) as fed, plain_feeder(fed.url) as feeder:
        assert (await feeder.hello())["batch"] == 2
        for number in (1, 2):
            await feeder.batch(number)
        await feeder.acknowledged(2)
        await feeder.batch(3)
        await feeder.acknowledged(3)
        assert fed.sink.stream == [Batch("tick", rows_of(3), 17, 3)], "no new run, no repetition"


async def test_another_run_begins_and_its_batches_are_counted_from_one() -> None:
    async with fed_hub(run="run-a", batch=7, newest=(TEN_MS, 99)) as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello("run-b")
        await feeder.batch(1)
        await feeder.acknowledged(1)
        assert fed.sink.stream == ["run-b", Batch("tick", rows_of(1), 17, 1)]


async def test_batches_that_never_came_are_announced_for_every_channel_before_the_next() -> None:
    async with fed_hub(newest=(TEN_MS, 99)) as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello(channels=["tick", "smoke", "status", "1m"])
        assert fed.hellos[0].channels == ["1m", "tick"]
        await feeder.batch(1)
        await feeder.batch(3)
        await feeder.acknowledged(3)
        run, first, *gaps, third = fed.sink.stream
    assert (run, first.number, third.number) == ("run-a", 1, 3)
    assert gaps == [Interruption("1m:*", TEN_MS, TEN_MS + 3), Interruption("tick:*", TEN_MS, TEN_MS + 3)]


async def test_a_run_that_a_hub_without_history_meets_in_its_middle_is_no_gap() -> None:
    """Nothing came before: what the history of this hub lacks is told by its epoch."""
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.batch(500)
        await feeder.acknowledged(500)
        assert [type(what) for what in fed.sink.stream] == [str, Batch]


async def test_what_the_feeder_had_to_drop_is_announced_once_counted_and_acknowledged() -> None:
    async with fed_hub(newest=(TEN_MS, 99)) as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.batch(1)
        for _ in range(2):
            await feeder.say("dropped", **{"from": 2, "to": 5, "from_time": 100, "to_time": 200})
            await feeder.acknowledged(5)
        await feeder.batch(6)
        await feeder.acknowledged(6)
        _, first, gap, counted, sixth = fed.sink.stream
    assert gap == Interruption("tick:*", 100, 200)
    assert (first.number, sixth.number) == (1, 6)
    assert (counted.number, list(counted.rows)) == (5, [])


async def test_what_a_source_missed_names_its_topics() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.say("dropped", **{"from": 1, "to": 1, "topics": ["tick:600000.SH", "tick:*.SZ"]})
        await feeder.say("dropped", **{"from": 2, "to": 2, "topics": ["what:ever"]})
        await feeder.acknowledged(2)
        gaps = [what for what in fed.sink.stream if isinstance(what, Interruption)]
    assert [gap.topic for gap in gaps] == ["tick:600000.SH", "tick:*.SZ", "tick:*"]


async def test_a_report_of_dropped_batches_that_leaves_some_unexplained_covers_everything() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.say("dropped", **{"from": 3, "to": 3, "topics": ["tick:600000.SH"]})
        await feeder.acknowledged(3)
        (gap,) = [what for what in fed.sink.stream if isinstance(what, Interruption)]
    assert gap.topic == "tick:*"


async def test_a_feeder_may_name_its_messages_by_type() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        hello = {"type": "hello", "source": "other", "run": "r", "simulated": True, "channels": ["tick"]}
        await feeder.send(hello)
        await feeder.hear("welcome")
        await feeder.send({"type": "status", "state": "degraded", "reason": "slow"})
        await fed.sink.until(lambda: fed.sink.statuses[-1].state == "degraded")
        assert (fed.source.name, fed.source.simulated, fed.source.channels) == ("other", True, {"tick"})


async def test_before_the_first_hello_the_source_is_a_feed_that_may_bring_anything() -> None:
    async with fed_hub() as fed:
        assert (fed.source.name, fed.source.simulated, fed.source.continues) == ("feed", False, True)
        assert fed.source.channels == CHANNELS.keys() - {"status"}
        assert (fed.source.markets, fed.source.trading_days) == ({}, None)
        await fed.sink.until(lambda: fed.sink.statuses)
        assert fed.sink.statuses == [SourceStatus(SourceState.AWAY, "no feeder has connected yet")]


async def test_a_hub_whose_history_ends_with_a_run_knows_that_its_feeder_keeps_what_comes() -> None:
    async with fed_hub(run="run-a", batch=3) as fed:
        await fed.sink.until(lambda: fed.sink.statuses)
        assert fed.sink.statuses[0].keeps


async def test_calendar_and_instruments_are_the_source_s() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.say("calendar", days=["2026-09-01", "2026-09-02"])
        await feeder.say("instruments", markets={"SH": 2300, "SZ": 2900})
        await feeder.batch(1)
        await feeder.acknowledged(1)
        assert {day.isoformat() for day in fed.source.trading_days or ()} == {"2026-09-01", "2026-09-02"}
        assert fed.source.markets == {"SH": 2300, "SZ": 2900}


async def test_the_source_s_state_is_passed_on_and_a_lost_link_is_away_while_the_feeder_keeps_what_comes() -> None:
    async with fed_hub() as fed:
        async with plain_feeder(fed.url) as feeder:
            await feeder.hello()
            await feeder.say("status", state="degraded", reason="one market is silent")
            await fed.sink.until(lambda: fed.sink.statuses[-1].state == "degraded")
            feeder.socket.transport.abort()
            await fed.sink.until(lambda: fed.sink.statuses[-1].state == "away")
        async with plain_feeder(fed.url) as feeder:
            await feeder.hello()
            await fed.sink.until(lambda: len(fed.sink.statuses) == 5)
        first, entered, said, lost, again = fed.sink.statuses[:5]
    assert (first.state, entered) == ("away", CONNECTED)
    assert lost.keeps
    assert "lost" in lost.reason
    assert said == again == SourceStatus(SourceState.DEGRADED, "one market is silent")


async def test_what_a_run_said_of_its_source_is_not_held_against_the_next() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as first, plain_feeder(fed.url) as second:
        await first.hello("run-a")
        await first.say("status", state="away", reason="no terminal")
        await fed.sink.until(lambda: fed.sink.statuses[-1].reason == "no terminal")
        await second.hello("run-b")
        await fed.sink.until(lambda: fed.sink.statuses[-1] == CONNECTED)


@pytest.mark.parametrize(("rows", "batches"), [(1, 1), (4, 2), (7, 4)])
async def test_a_feeder_that_catches_up_gives_the_others_their_turn_after_so_many_rows(
    rows: int, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is flushed in between: clients and acknowledgements don't wait for all of it."""
    monkeypatch.setattr(bridge.feed.endpoint, "ROWS_IN_A_TURN", rows)
    order: list[str] = []

    def note(_: Batch) -> None:
        order.append("batch")
        asyncio.get_running_loop().call_soon(order.append, "turn")

    async with fed_hub(starts=False) as fed, plain_feeder(fed.url) as feeder:
        fed.sink.on_deliver = note
        await feeder.say("hello", source="scripted", run="run-a", simulated=False, channels=["tick"])
        for number in range(1, 9):
            await feeder.batch(number)
        async with plain_feeder(fed.url) as other:  # by then the batches are at the hub's end of the line
            await other.socket.ping()
            fed.run_again()
            await fed.sink.until(lambda: len(fed.sink.numbers) == 8)
            await asyncio.sleep(0)
    turns = "".join(what[0] for what in order).replace("b" * batches + "t" * batches, ".")
    assert turns == "." * (8 // batches)


async def test_a_feeder_that_says_goodbye_keeps_nothing() -> None:
    async with fed_hub() as fed:
        async with plain_feeder(fed.url) as feeder:
            await feeder.hello()
        await fed.sink.until(lambda: fed.sink.statuses[-1].state == "away")
        assert fed.sink.statuses[-1] == SourceStatus(SourceState.AWAY, "the feeder has ended", keeps=False)


async def test_a_newer_run_replaces_the_older_which_is_told_4409_and_not_let_in_again() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as older, plain_feeder(fed.url) as newer:
        await older.hello("run-a")
        await older.batch(1)
        await older.acknowledged(1)
        await newer.hello("run-b")
        assert await older.closed() == (4409, "replaced by a newer run")
        async with plain_feeder(fed.url) as back:
            await back.say("hello", source="scripted", run="run-a", simulated=False, channels=["tick"])
            assert (await back.hear("error"))["code"] == "replaced"
            assert await back.closed() == (4409, "replaced by a newer run")
        await newer.batch(1)
        await newer.acknowledged(1)
        assert [what if isinstance(what, str) else what.number for what in fed.sink.stream] == ["run-a", 1, "run-b", 1]
        assert [status.state for status in fed.sink.statuses] == ["away", "connected"], "the source was never away"


async def test_the_run_of_a_restarted_hub_s_journal_counts_as_replaced_too() -> None:
    async with fed_hub(run="run-a", batch=3) as fed, plain_feeder(fed.url) as feeder, plain_feeder(fed.url) as late:
        await feeder.hello("run-b")
        await late.say("hello", source="scripted", run="run-a", simulated=False, channels=["tick"])
        assert (await late.closed())[0] == 4409


async def test_the_same_run_on_a_new_connection_takes_over_without_having_been_away() -> None:
    """The hub may not have noticed yet that the old connection is dead."""
    async with fed_hub() as fed, plain_feeder(fed.url) as dead:
        await dead.hello()
        await dead.batch(1)
        await dead.acknowledged(1)
        async with plain_feeder(fed.url) as alive:
            assert (await alive.hello())["batch"] == 1
            await dead.closed()
            await alive.batch(2)
            await alive.acknowledged(2)
            assert fed.sink.numbers == [1, 2]
            assert [status.state for status in fed.sink.statuses] == ["away", "connected"]


async def test_what_a_replaced_connection_still_brings_is_not_taken() -> None:
    async with fed_hub(stores=False) as fed, plain_feeder(fed.url, ping_interval=None) as old:
        await old.hello("run-a")
        # Both arrive in one turn of the hub: the replacement first.
        async with plain_feeder(fed.url) as new:
            await asyncio.gather(new.hello("run-b"), old.batch(1))
            await old.closed()
            await new.batch(1)
            await fed.sink.until(lambda: fed.sink.stream[-1] != "run-b" and fed.sink.numbers)
        after = fed.sink.stream[fed.sink.stream.index("run-b") :]
        assert [what.number for what in after[1:]] == [1]


async def test_another_source_is_refused_while_one_is_connected() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as first:
        await first.hello()
        async with plain_feeder(fed.url) as second:
            await second.say("hello", source="other", run="run-b", simulated=False, channels=["tick"])
            assert (await second.hear("error"))["code"] == "forbidden"
            code, reason = await second.closed()
        assert code == 4403
        assert "scripted" in (reason or "")
        await first.batch(1)
        await first.acknowledged(1)


async def test_a_feeder_that_can_not_go_on_in_this_history_is_sent_away_to_come_back() -> None:
    known = Lineage("scripted", simulated=False, run="run-a")
    async with fed_hub(run="run-a", batch=3, admits=known.admits) as fed:
        for change in ({"simulated": True}, {"source": "other"}, {"run": "run-b", "continues": False}):
            async with plain_feeder(fed.url) as feeder:
                hello = {"source": "scripted", "run": "run-a", "simulated": False, "channels": ["tick"]}
                await feeder.say("hello", **hello | change)
                assert (await feeder.closed())[0] == 1012
        assert fed.sink.stream == []
        async with plain_feeder(fed.url) as feeder:
            assert (await feeder.hello(continues=False))["batch"] == 3


def test_a_history_that_nobody_fed_admits_anybody() -> None:
    hello = Hello("recording", "run-a", simulated=False, channels=["tick"], continues=False)
    assert Lineage("feed", simulated=False, run="").admits(hello)


@pytest.mark.parametrize(
    "hello",
    [
        {"run": "r", "simulated": False, "channels": ["tick"]},
        {"source": "a b", "run": "r", "simulated": False, "channels": ["tick"]},
        {"source": "s", "run": "", "simulated": False, "channels": ["tick"]},
        {"source": "s", "run": 7, "simulated": False, "channels": ["tick"]},
        {"source": "s", "run": "r", "simulated": 0, "channels": ["tick"]},
        {"source": "s", "run": "r", "simulated": False, "channels": []},
        {"source": "s", "run": "r", "simulated": False, "channels": "tick"},
        {"source": "s", "run": "r", "simulated": False, "channels": ["smoke", "status"]},
    ],
    ids=str,
)
async def test_a_hello_that_makes_no_sense_is_4400_with_the_reason(hello: dict[str, Any]) -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.say("hello", **hello)
        error = await feeder.hear("error")
        assert (error["code"], error["message"].startswith("hello: ")) == ("bad_message", True)
        assert (await feeder.closed())[0] == 4400
        assert fed.hellos == []


async def test_a_feeder_that_does_not_introduce_itself_is_closed() -> None:
    async with fed_hub(hello_timeout_s=0.05) as fed, plain_feeder(fed.url) as feeder:
        code, reason = await feeder.closed()
    assert code == 4400
    assert "no hello" in (reason or "")


@pytest.mark.parametrize(
    "message",
    [
        [1, "tick", [], 17],
        {"op": "status", "state": "connected"},
    ],
    ids=str,
)
async def test_hello_comes_first(message: Any) -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.send(message)
        assert (await feeder.closed())[0] == 4400
        assert fed.sink.stream == []


@pytest.mark.parametrize(
    "message",
    [
        [0, "tick", [], 17],
        [-1, "tick", [], 17],
        [True, "tick", [], 17],
        [1, 5, [], 17],
        [1, "tick", {}, 17],
        [1, "tick", [], "now"],
        [1, "tick", [], -5],
        [1, "tick", []],
        [2**63, "tick", [], 17],
        [],
        "batch",
        17,
        {"no": "op"},
        {"op": 5},
        {"op": "status", "state": "splendid"},
        {"op": "status"},
        {"op": "clock", "time": "noon", "pace": 1},
        {"op": "clock", "time": 1, "pace": -1},
        {"op": "clock", "time": 1, "pace": float("nan")},
        {"op": "calendar", "days": ["someday"]},
        {"op": "instruments", "markets": {"SH": -1}},
        {"op": "dropped", "from": 5, "to": 4},
        {"op": "dropped", "from": 5},
        {"op": "hello", "source": "s", "run": "r", "simulated": False, "channels": ["tick"]},
    ],
    ids=str,
)
async def test_what_is_of_the_wrong_type_is_4400_and_nothing_of_it_is_taken(message: Any) -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.send(message)
        error = await feeder.hear("error")
        assert error["code"] == "bad_message"
        code, reason = await feeder.closed()
        assert (code, bool(reason)) == (4400, True)
        assert fed.sink.stream == ["run-a"]


@pytest.mark.parametrize("data", ["text", b"", b"\xc1", b"\x94\x01", b"\x92\x01\x02 and more"])
async def test_what_is_no_msgpack_is_4400(data: bytes | str) -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.socket.send(data)
        assert (await feeder.closed())[0] == 4400


async def test_a_row_that_is_none_is_left_out_and_the_others_come_through(caplog: pytest.LogCaptureFixture) -> None:
    """Refused as a whole, the batch would come again for ever, and nothing after it."""
    good = rows_of(1)
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.batch(1, rows=[good[0], 5, None, good[1], {"code": 1}])
        await feeder.acknowledged(1)
        assert list(fed.sink.batches[0].rows) == good
    assert "batch 1 has 3 rows that are none" in caplog.text


async def test_rows_of_a_channel_that_was_not_announced_are_left_out_but_their_number_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        for number, channel in enumerate(("1m", "smoke", "status", "tick"), 1):
            await feeder.batch(number, channel)
        await feeder.acknowledged(4)
        assert [(batch.number, batch.channel, len(batch.rows)) for batch in fed.sink.batches] == [
            (1, "tick", 0),
            (2, "tick", 0),
            (3, "tick", 0),
            (4, "tick", 2),
        ]
    assert "rows of the channel 'smoke' are left out" in caplog.text


async def test_a_batch_that_the_hub_stumbles_over_is_announced_and_does_not_come_again_for_ever() -> None:
    def stumble(batch: Batch) -> None:
        fed.source.stored(batch.number)
        if batch.number == 2:
            raise RuntimeError("a fault of the hub")

    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        fed.sink.on_deliver = stumble
        for number in (1, 2, 3):
            await feeder.batch(number)
        await feeder.acknowledged(3)
        _, first, gap, third = fed.sink.stream
    assert (first.number, gap, third.number) == (1, Interruption("tick:*", None, None), 3)


async def test_what_a_newer_feeder_adds_is_passed_over_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello(colour="blue")
        for _ in range(3):
            await feeder.say("weather", sky="clear")
            await feeder.say("status", state="connected", mood="good")
        await feeder.send([1, "tick", rows_of(1), 17, "more"])
        await feeder.acknowledged(1)
        assert fed.sink.numbers == [1]
    told = [record.getMessage() for record in caplog.records if "passed over" in record.getMessage()]
    assert len(told) == 3
    assert all(any(name in line for line in told) for name in ("weather", "'mood' of status", "'colour' of hello"))


async def test_a_feeder_waits_at_the_door_until_the_hub_takes_batches() -> None:
    async with fed_hub(starts=False) as fed, plain_feeder(fed.url) as feeder:
        waiting = asyncio.create_task(feeder.hello())
        async with plain_feeder(fed.url) as impatient:
            await impatient.say("hello", source="scripted", run="x", simulated=False, channels=["tick"])
        assert not waiting.done()
        assert fed.hellos == []
        fed.run_again()
        assert (await waiting)["run"] == "run-a"
        assert [hello.run for hello in fed.hellos] == ["run-a"]


async def test_after_a_pause_of_the_hub_a_feeder_begins_again_after_what_is_stored() -> None:
    async with fed_hub() as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.batch(1)
        await feeder.acknowledged(1)
        await fed.stop_running()
        await feeder.batch(2)
        fed.run_again()
        assert (await feeder.closed())[0] == 1012
        assert fed.sink.numbers == [1]
        async with plain_feeder(fed.url) as again:
            assert (await again.hello())["batch"] == 1
            await again.batch(2)
            await again.acknowledged(2)


async def test_what_is_stored_while_the_hub_drains_is_acknowledged_before_the_1012() -> None:
    async with fed_hub(stores=False) as fed, plain_feeder(fed.url) as feeder:
        await feeder.hello()
        await feeder.batch(1)
        await fed.sink.until(lambda: fed.sink.numbers)
        await fed.stop_running()
        await feeder.batch(2)  # too late: it stays with the feeder
        fed.source.stored(1)
        draining = asyncio.create_task(fed.server.drain("the hub is restarting", 5))
        assert await feeder.receive() == {"type": "ack", "batch": 1}
        assert (await feeder.closed())[0] == 1012
        await draining
        assert fed.sink.numbers == [1]


async def test_a_feeder_of_another_version_is_400_and_told_the_known_one() -> None:
    async with fed_hub() as fed:
        answer = await ask(fed.port, "/feed", *UPGRADE, "Sec-WebSocket-Protocol: argus.feed.v9")
        assert (answer.status, "argus.feed.v1" in answer.body) == (400, True)
        assert (await ask(fed.port, "/feed")).status == 426


async def test_a_lost_feeder_is_forgotten_whatever_it_was_doing() -> None:
    async with fed_hub() as fed:
        for _ in range(3):
            async with plain_feeder(fed.url) as feeder:
                await feeder.hello()
                feeder.socket.transport.abort()
        await until(lambda: fed.sink.statuses[-1].state == "away")
