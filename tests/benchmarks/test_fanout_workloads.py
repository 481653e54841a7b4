"""Workloads are plans: what is sent when, who hears it, and how many rows that makes, without a server."""

import struct
from dataclasses import replace

import msgspec
import pytest

from benchmarks.fanout.contestants import CONTESTANTS
from benchmarks.fanout.rows import Fill, RowMaker, Template, code, plan_sends
from benchmarks.fanout.workloads import ALL, QUICK, SECOND_NS, WORKLOADS, Group, Workload, quick

HUB = CONTESTANTS["hub"]
SMALL = Workload(
    name="small",
    what="",
    groups=(Group("three", 2, 3), Group("whole", 1, ALL), Group("never", 1, ALL, reads=False)),
    batches=((0, 1), (2, 3)),
    period_ns=SECOND_NS // 10,
    seconds=0.4,
)


def filled(template: Template, number: int, time_ms: int, planned_us: int) -> bytes:
    """What the pacer makes of a template."""
    data = bytearray(template.data)
    for place, fill in template.fills:
        value = {Fill.NUMBER: number, Fill.TIME_MS: time_ms, Fill.PLANNED_US: planned_us}[fill]
        data[place : place + 8] = struct.pack("!Q", value)
    return bytes(data)


@pytest.mark.parametrize("name", WORKLOADS)
def test_sends_are_in_order_and_every_topic_speaks_before_it_counts(name: str) -> None:
    workload = WORKLOADS[name]
    sends, from_ns, to_ns = workload.schedule()
    assert sends == sorted(sends)
    batches = workload.all_batches
    warm = {symbol for due_ns, batch in sends if due_ns < from_ns for symbol in batches[batch]}
    assert warm == set(range(workload.symbols))
    assert all(due_ns < to_ns for due_ns, _ in sends)


def test_what_warms_up_is_not_among_what_counts() -> None:
    workload = replace(SMALL, warm_up_rows=3)
    sends, from_ns, _ = workload.schedule()
    assert workload.all_batches == ((0, 1), (2, 3), range(3), range(3, 4))
    assert [number for due_ns, number in sends if due_ns < from_ns] == [2, 3]
    assert (workload.fed_rows(), workload.expected_rows()) == (SMALL.fed_rows(), SMALL.expected_rows())


def test_expected_rows_are_those_of_clients_that_read() -> None:
    sends, from_ns, _ = SMALL.schedule()
    expected = 0
    for due_ns, batch in sends:
        for group, symbols in SMALL.subscriptions():
            if due_ns >= from_ns and SMALL.groups[group].reads:
                heard = SMALL.batches[batch] if symbols is None else set(SMALL.batches[batch]) & set(symbols)
                expected += len(heard)
    assert SMALL.expected_rows() == expected > 0
    assert SMALL.fed_rows() == 8


def test_subscriptions_are_the_same_every_time() -> None:
    assert SMALL.subscriptions() == replace(SMALL).subscriptions()


def test_the_rows_of_the_hot_symbol_have_300_bytes() -> None:
    largest = RowMaker("tick", WORKLOADS["hot-unbatched"].levels).size
    assert largest - 4 <= 300 <= largest  # the width of its number


@pytest.mark.parametrize("channel", ["tick", "l2transaction"])
def test_a_fed_batch_is_what_a_feeder_says(channel: str) -> None:
    row = RowMaker(channel)
    template = HUB.message(row, range(40))
    header = template.data.index(0x94)
    number, said, rows, recv_us = msgspec.msgpack.decode(filled(template, 7, 1000, 2000)[header:])
    assert (number, said, recv_us) == (7, channel, 2000)
    assert [fed[:2] for fed in rows] == [[code(symbol), 1000] for symbol in range(40)]
    assert int.from_bytes(template.data[2:header][:2]) == len(template.data) - header


@pytest.mark.parametrize("name", [name for name in CONTESTANTS if not name.startswith("hub")])
def test_every_peer_is_fed_the_rows_that_the_hub_sends(name: str) -> None:
    row = RowMaker("tick")
    said = filled(CONTESTANTS[name].message(row, [5]), 1, 1000, 2000)
    sent = msgspec.msgpack.decode(said[said.index(row.head(5)) :][: row.size])
    assert [sent[0], *sent[2:4]] == [code(5), 1000, 2000]
    fed = msgspec.msgpack.decode(filled(HUB.message(row, [5]), 1, 1000, 2000)[HUB.message(row, [5]).data.index(0x94) :])
    assert sent[4:] == fed[2][0][2:]


def test_a_plan_holds_templates_and_sends() -> None:
    template = Template()
    template.add(b"ab")
    template.add_filled(Fill.PLANNED_US)
    plan = plan_sends([template], [(5, 0), (6, 0)])
    assert plan == (
        struct.pack("<III", 1, 11, 1) + b"ab\xcf" + bytes(8) + struct.pack("<III", 3, 2, 2)
        + struct.pack("<QIQI", 5, 0, 6, 0)
    )  # fmt: skip


def test_who_has_no_patterns_is_unable_where_clients_have_all_topics() -> None:
    nchan = CONTESTANTS["nchan"]
    assert nchan.unable(WORKLOADS["steady-mute"]) == "its clients can't have all topics at once"
    assert nchan.unable(WORKLOADS["steady"]) == HUB.unable(WORKLOADS["steady-mute"]) == ""


def test_quick_runs_are_short() -> None:
    short = [quick(WORKLOADS[name]) for name in QUICK]
    trials = [workload.seconds for workload in short for _ in workload.contestants]
    assert sum(trials) + 5 * len(trials) < 120  # a start, clients, warming up, an end: five seconds at most
