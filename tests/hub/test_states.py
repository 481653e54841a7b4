"""Rows that tell a state: numbered and kept like all others, and given to nobody as live."""

from hypothesis import given
from hypothesis import strategies as st

from hub.states import MOST, States
from tests.hub.support.core import Client, make_hub, publish, tick

A, B = "600000.SH", "600001.SH"


def state(hub, *codes: str, time_ms: int = 1) -> None:  # type: ignore[no-untyped-def]
    hub.publish("tick", [tick(code, time_ms) for code in codes], 1, is_state=True)


def test_a_live_client_is_given_a_state_as_a_snapshot_at_its_place() -> None:
    hub = make_hub()
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"])
    client.pump()
    client.messages()
    publish(hub, A, time_ms=1)
    state(hub, A, B, time_ms=2)
    publish(hub, B, time_ms=3)
    hub.announce("tick:*", 1, 3)
    state(hub, A, time_ms=4)
    hub.flush()
    assert client.told() == [
        ("live", A, 1),
        ("snapshot", A, 2),
        ("snapshot", B, 1),
        ("live", B, 2),
        ("gap", "tick:*", None, None),
        ("snapshot", A, 3),
    ]


def test_a_client_that_catches_up_is_told_the_same() -> None:
    hub = make_hub()
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since="open")
    publish(hub, A, time_ms=1)
    state(hub, A, time_ms=2)
    publish(hub, A, time_ms=3)
    hub.flush()
    client.pump()
    assert [one for one in client.told() if len(one) == 3] == [("live", A, 1), ("snapshot", A, 2), ("live", A, 3)]


def test_the_latest_of_a_topic_is_what_its_newest_row_is() -> None:
    hub = make_hub()
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], mode="latest")
    client.pump()
    client.messages()
    publish(hub, A, time_ms=1)
    state(hub, A, time_ms=2)
    publish(hub, B, time_ms=2)
    hub.flush()
    client.pump()
    assert client.told() == [("snapshot", A, 2), ("live", B, 1)]


def test_history_is_history_whatever_it_tells() -> None:
    hub = make_hub()
    state(hub, A, time_ms=2)
    hub.flush()
    client = Client(hub)
    client.ask("replay", id=1, topics=["tick:*"])
    client.pump()
    assert client.told() == [("replay", A, 1), ("replay_done",)]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=20), st.integers(1, 120), st.integers(0, 130))
def test_stretches_are_those_that_were_noted(parts: list[tuple[int, int]], at: int, up_to: int) -> None:
    states, noted, end = States(), set[int](), 0
    for pause, length in parts:
        states.note(end + pause + 1, end + pause + length)
        noted |= set(range(end + pause + 1, end + pause + length + 1))
        end += pause + length
    up_to = max(at, up_to)
    is_state, last_at = states.stretch(at, up_to)
    assert is_state == (at in noted)
    assert at <= last_at <= up_to
    assert all((one in noted) == is_state for one in range(at, last_at + 1))
    assert last_at == up_to or ((last_at + 1 in noted) != is_state or is_state)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=20), st.integers(0, 120), st.integers(0, 130))
def test_stretches_between_two_rows_are_cut_to_them(parts: list[tuple[int, int]], after_at: int, up_to: int) -> None:
    states, noted, end = States(), set[int](), 0
    for pause, length in parts:
        states.note(end + pause + 1, end + pause + length)
        noted |= set(range(end + pause + 1, end + pause + length + 1))
        end += pause + length
    up_to = max(after_at, up_to)
    found = states.between(after_at, up_to)
    assert all(first <= last for first, last in found)
    rows = [at for first, last in found for at in range(first, last + 1)]
    assert rows == sorted(noted & set(range(after_at + 1, up_to + 1)))


def test_what_is_remembered_is_bounded() -> None:
    states = States()
    for number in range(MOST + 5):
        states.note(2 * number + 1, 2 * number + 1)
    assert states.stretch(1, 1) == (False, 1)
    assert states.stretch(2 * MOST + 1, 2 * MOST + 1) == (True, 2 * MOST + 1)
