"""The steps, their order and their patience."""

from bridge.xtquant.ladder import FRUITLESS_RESTART_S, Ladder, Step


def test_the_steps_come_in_order_each_with_time_to_help() -> None:
    ladder = Ladder(12, 0)
    looks = [ladder.look(second, is_stale=True, has_brought=True) for second in range(100, 150)]
    assert [(100 + place, step) for place, step in enumerate(looks) if step] == [
        (100, Step.RESUBSCRIBE),
        (112, Step.RECONNECT),
        (124, Step.RESTART),
    ]


def test_what_is_healed_begins_anew() -> None:
    ladder = Ladder(12, 0)
    ladder.look(0, is_stale=True, has_brought=True)
    assert list(ladder.taken) == [Step.RESUBSCRIBE]
    assert ladder.look(5, is_stale=False, has_brought=True) is None
    assert list(ladder.taken) == []
    assert ladder.look(6, is_stale=True, has_brought=True) is Step.RESUBSCRIBE


def test_a_process_that_brought_nothing_waits_long_before_another_takes_its_place() -> None:
    ladder = Ladder(12, 0)
    steps = {second: ladder.look(second, is_stale=True, has_brought=False) for second in range(0, 600, 12)}
    assert [second for second, step in steps.items() if step is Step.RESTART] == [FRUITLESS_RESTART_S]
