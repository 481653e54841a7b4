"""What the door is told of the hub's history: rows as their source gave them, and nothing that the hub said itself."""

from pathlib import Path

import pytest

from bridge.delivered import DeliveredRows
from bridge.repeats import Delivered, PastTopic, Unpublished
from hub.history import History
from hub.lookback import PAGES
from hub.schema import STATUS, Row
from tests.hub.support.core import packed, row_of, tick
from tests.hub.support.journaled import deliver, hub_of, kill, open_history
from tests.hub.test_journal_model import small_files


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


def test_rows_that_come_again_in_their_order_are_searched_for_a_few_times_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [tick(code, time_ms, 8.5) for time_ms in range(1, 31) for code in ("600000.SH", "600001.SH")]
    with small_files():  # pages of four rows
        opened = open_history(tmp_path)
        hub = hub_of(opened)
        for row in rows:
            deliver(hub, row)
        kill(opened)
        opened = open_history(tmp_path)
        past = DeliveredRows(opened.history, "")
        search, searches = past._lookback._search, []
        monkeypatch.setattr(past._lookback, "_search", lambda *what: searches.append(what) or search(*what))
        monkeypatch.setattr(past._lookback, "_monotonic_s", lambda: 1.0)
        delivered = Delivered("tick", past)
        for topic in past.topics():
            delivered.restore(topic)
        again = packed(*rows)
        for code, time_ms, row in zip(again.codes, again.times, again.packed, strict=True):
            assert delivered.is_repeat(code, time_ms, row, Unpublished(again, []))
        assert 1 < len(searches) < 2 * len(rows) / 4 / PAGES, "a search brings so many pages of four rows"
        assert past.unproven == 0
        kill(opened)
