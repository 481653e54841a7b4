"""The benchmark itself, with hardly any load: every row that was planned arrives, from every server that is here."""

import sys
from pathlib import Path

import pytest

from benchmarks.fanout.contestants import CONTESTANTS
from benchmarks.fanout.native import build
from benchmarks.fanout.trial import Bench
from benchmarks.fanout.workloads import WORKLOADS, smoke

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the load reader is for Linux")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    cache = tmp_path_factory.mktemp("bench")
    return Bench(build(cache), cache, pins=False)


@pytest.mark.parametrize(
    ("contestant", "workload"),
    [
        ("hub", "burst-and-whole"),
        ("hub", "level-2"),
        ("hub-flush-5", "hot-300"),
        ("c-each", "steady-mute"),
        ("c-gathered", "burst-and-whole"),
        ("nats", "burst-and-whole"),
    ],
)
def test_every_planned_row_arrives(bench: Bench, contestant: str, workload: str, tmp_path: Path) -> None:
    server = CONTESTANTS[contestant]
    if reason := server.missing(tmp_path):
        pytest.skip(reason)
    small = smoke(WORKLOADS[workload])
    found = bench.run(server, small)
    reader = found["reader"]
    assert reader["rows"] == found["expected_rows"] == small.expected_rows() > 0
    assert sum(group["delays_ns"]["count"] for group in reader["groups"]) == reader["rows"]
    assert sum(batch["rows"] for batch in reader["batches"]) == (reader["rows"] if small.has_bursts else 0)
    assert [group["clients"] for group in reader["groups"]][: len(small.groups)] == [g.clients for g in small.groups]
    assert reader["closed"] == 0
    assert found["feeder"]["sends"] == len(small.schedule()[0])
    assert found["server_cpu_s"] > 0


def test_no_two_rows_of_the_hot_symbol_travel_together(bench: Bench) -> None:
    found = bench.run(CONTESTANTS["hub"], smoke(WORKLOADS["hot-unbatched"]))
    assert [group["frames"] for group in found["reader"]["groups"]] == [found["expected_rows"], 0, 0, 0]


def test_idle_clients_are_counted_in_memory_and_time(bench: Bench) -> None:
    found = bench.run(CONTESTANTS["hub"], smoke(WORKLOADS["idle"]))
    assert found["opened"]["ready"] == 8
    assert found["rss_bytes_per_client"] > 0
