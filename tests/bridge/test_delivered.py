"""What the door is told of the hub's history: rows as their source gave them, and nothing that the hub said itself."""

from pathlib import Path

import pytest

from bridge.delivered import DeliveredRows
from bridge.repeats import PastTopic
from hub.history import History
from hub.schema import STATUS, Row
from tests.hub.support.core import packed, row_of, tick
from tests.hub.support.journaled import deliver, hub_of, open_history


def history() -> History:
    return History(ring_rows=1000, ring_bytes=1 << 24)


def given_as(row: Row, channel: str = "tick") -> bytes:
    return packed(row, channel=channel).packed[0]


def test_rows_come_back_as_the_source_gave_them() -> None:
    kept = history()
    given = tick("600000.SH", 7, 8.5, None, 8.6, 8.4)
    kept.append("tick", [given], 17)
    delivered = DeliveredRows(kept, "")
    assert list(delivered.topics()) == [PastTopic("tick", "600000.SH", 7)]
    assert list(delivered.rows_at("tick", "600000.SH", 7)) == [given_as(given)]


def test_every_topic_has_its_newest_time_and_its_last_row_if_that_is_of_this_time() -> None:
    kept = history()
    kept.append("tick", [tick("600000.SH", 9, 1.0), tick("600001.SH", 5), tick("600000.SH", 7, 2.0)], 17)
    kept.append("1m", [row_of("1m", "600000.SH", 3)], 17)
    delivered = DeliveredRows(kept, "")
    assert list(delivered.topics()) == [
        PastTopic("tick", "600000.SH", 9),
        PastTopic("tick", "600001.SH", 5),
        PastTopic("1m", "600000.SH", 3),
    ]
    assert [delivered.last_row(topic.channel, topic.code) for topic in delivered.topics()] == [
        None,
        given_as(tick("600001.SH", 5)),
        given_as(row_of("1m", "600000.SH", 3), "1m"),
    ]
    assert delivered.last_row("tick", "600002.SH") is None


def test_what_the_hub_said_itself_is_nothing_that_a_source_delivered() -> None:
    kept = history()
    kept.append(STATUS, [row_of(STATUS, "source.test", 10**15)], 17)
    assert list(DeliveredRows(kept, "").topics()) == []


def test_all_rows_of_a_topic_with_exactly_one_time_are_given_and_no_others() -> None:
    kept = history()
    rows = [tick("600000.SH", time_ms, value) for value, time_ms in enumerate((5, 7, 7, 9, 7))]
    kept.append("tick", [*rows, tick("600001.SH", 7, 99)], 17)
    delivered = DeliveredRows(kept, "")
    assert list(delivered.rows_at("tick", "600000.SH", 7)) == [given_as(rows[at]) for at in (1, 2, 4)]
    assert list(delivered.rows_at("tick", "600000.SH", 8)) == []


def test_of_a_topic_that_never_spoke_there_is_nothing() -> None:
    kept = history()
    kept.append("1m", [row_of("1m", "600000.SH", 7)], 17)
    assert list(DeliveredRows(kept, "").rows_at("tick", "600000.SH", 7)) == []


@pytest.mark.parametrize("run", ["", "run-a"])
def test_the_run_is_that_of_the_batches_that_came_last(run: str) -> None:
    assert DeliveredRows(history(), run).run == run


def test_a_history_from_disk_tells_its_rows_though_memory_has_none(tmp_path: Path) -> None:
    given = tick("600000.SH", 7, 8.5)
    opened = open_history(tmp_path)
    deliver(hub_of(opened), given, tick("600000.SH", 5))
    opened.close()
    opened = open_history(tmp_path)
    delivered = DeliveredRows(opened.history, opened.run)
    assert list(delivered.topics()) == [PastTopic("tick", "600000.SH", 7)]
    assert list(delivered.rows_at("tick", "600000.SH", 7)) == [given_as(given)]
    assert list(delivered.rows_at("tick", "600000.SH", 6)) == []
    opened.close()
