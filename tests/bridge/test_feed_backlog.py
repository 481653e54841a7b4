"""What a feeder keeps, lets go and must tell of, against every order of adding, acknowledging and reading."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bridge.feed.backlog import Backlog


def filled(count: int, limit_bytes: int = 1_000_000, size: int = 10) -> Backlog:
    backlog = Backlog(limit_bytes)
    for number in range(1, count + 1):
        backlog.add(bytes([number]) * size, 1000 + number)
    return backlog


def read(backlog: Backlog, after: int) -> list[object]:
    """Everything there is to send after a number: first bytes of messages, and maps of what was dropped."""
    story: list[object] = []
    while (message := backlog.after(after)) is not None:
        after = message.number
        is_dropped = message.data[0] > 0x80
        story.append(msgspec.msgpack.decode(message.data) if is_dropped else message.data[0])
    return story


def dropped(first: int, last: int, from_time: int | None, to_time: int | None) -> dict[str, object]:
    return {"op": "dropped", "from": first, "to": last, "from_time": from_time, "to_time": to_time, "topics": []}


def test_messages_are_numbered_from_one_and_read_in_order() -> None:
    backlog = filled(3)
    assert (len(backlog), backlog.kept_bytes, backlog.next_number, backlog.newest_ms) == (3, 30, 4, 1003)
    assert read(backlog, 0) == [1, 2, 3]
    assert read(backlog, 2) == [3]
    assert read(backlog, 3) == []


def test_what_is_acknowledged_is_let_go_and_never_told_as_dropped() -> None:
    backlog = filled(5)
    backlog.acknowledge(3)
    assert (len(backlog), backlog.kept_bytes) == (2, 20)
    assert read(backlog, 0) == [4, 5], "a hub without history begins where it can"
    backlog.acknowledge(2)
    assert len(backlog) == 2
    backlog.acknowledge(99)
    assert (len(backlog), backlog.next_number, read(backlog, 0)) == (0, 6, [])


def test_over_the_limit_the_oldest_are_dropped_and_told_at_their_place() -> None:
    backlog = filled(6, limit_bytes=30)
    assert (backlog.dropped, backlog.kept_bytes, backlog.has_hole) == (3, 30, True)
    assert read(backlog, 0) == [dropped(1, 3, None, 1004), 4, 5, 6]


def test_the_hole_begins_after_what_was_acknowledged_and_tells_the_time_before() -> None:
    backlog = filled(2)
    backlog.acknowledge(2)
    small = Backlog(30)
    for number in range(1, 3):
        small.add(bytes([number]) * 10, 1000 + number)
    small.acknowledge(2)
    for number in range(3, 8):
        small.add(bytes([number]) * 10, 1000 + number)
    assert read(small, 2) == [dropped(3, 4, 1002, 1005), 5, 6, 7]


def test_what_the_hub_has_after_all_is_no_hole() -> None:
    backlog = filled(6, limit_bytes=30)
    assert read(backlog, 2) == [dropped(3, 3, None, 1004), 4, 5, 6]
    assert read(backlog, 3) == [4, 5, 6]
    backlog.acknowledge(2)
    assert read(backlog, 0) == [dropped(3, 3, None, 1004), 4, 5, 6]
    backlog.acknowledge(3)
    assert (backlog.has_hole, read(backlog, 0)) == (False, [4, 5, 6])


def test_the_newest_message_is_kept_whatever_its_size() -> None:
    backlog = filled(3, limit_bytes=5)
    assert (len(backlog), read(backlog, 0)) == (1, [dropped(1, 2, None, 1003), 3])


def test_a_hole_that_grows_while_it_is_told_goes_on_where_it_was_told_to() -> None:
    backlog = filled(6, limit_bytes=30)
    told = backlog.after(0)
    assert told is not None
    backlog.add(bytes([7]) * 10, 1007)
    assert told.number == 3
    assert read(backlog, told.number) == [dropped(4, 4, None, 1005), 5, 6, 7]


ACTIONS = st.lists(st.one_of(st.just("add"), st.just("send"), st.just("ack"), st.just("lose")), max_size=60)


@given(actions=ACTIONS, limit_messages=st.integers(1, 6))
def test_every_number_is_sent_or_told_as_dropped_once_and_in_order(actions: list[str], limit_messages: int) -> None:
    """A hub that takes what comes after what it has, loses its connections, and acknowledges when it likes."""
    backlog = Backlog(limit_messages * 10)
    taken: list[int] = []  # the hub's
    sent = 0
    for action in [*actions, "lose", *["send"] * 20]:
        if action == "add":
            backlog.add(bytes([backlog.next_number]) * 10, None)
        elif action == "ack":
            backlog.acknowledge(len(taken))
        elif action == "lose":
            sent = len(taken)
        elif (message := backlog.after(sent)) is not None:
            if message.data[0] > 0x80:
                told = msgspec.msgpack.decode(message.data)
                numbers = list(range(told["from"], told["to"] + 1))
            else:
                numbers = [message.data[0]]
            assert numbers[-1] == message.number
            taken += [number for number in numbers if number > len(taken)]
            sent = message.number
        assert len(backlog) <= limit_messages
        assert backlog.kept_bytes == 10 * len(backlog)
    assert taken == list(range(1, backlog.next_number))
