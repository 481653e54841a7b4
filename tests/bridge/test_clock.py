"""The clock, compared with a time server that this test runs: the protocol's own 48 bytes over UDP."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bridge.clock import check_clock

SINCE_1900_S = 2_208_988_800


@contextmanager
def time_server(ahead_s: float) -> Iterator[tuple[str, int]]:
    """A server that answers one question, and whose clock is so far ahead of this machine's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(60)

        def answer() -> None:
            question, client = server.recvfrom(1024)
            now = int((time.time() + ahead_s + SINCE_1900_S) * 2**32)
            server.sendto(struct.pack("!BBbb11I", 0x24, 2, 0, 0, 0, 0, 0, 0, 0, *struct.unpack("!2I", question[40:48]),
                                      now >> 32, now & 0xFFFFFFFF, now >> 32, now & 0xFFFFFFFF), client)  # fmt: skip

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()
        thread.join()


def test_a_clock_that_is_right_is_ok() -> None:
    with time_server(0) as server:
        check = check_clock([server])
    assert check.ok
    assert check.text.endswith("ms to 127.0.0.1")


@pytest.mark.parametrize(("ahead_s", "words"), [(90.0, "90.0 s behind 127.0.0.1"), (-5.0, "5.0 s ahead of 127.0.0.1")])
def test_a_clock_that_is_wrong_is_told_with_what_to_do(ahead_s: float, words: str) -> None:
    with time_server(ahead_s) as server:
        check = check_clock([server])
    assert not check.ok
    assert words in check.text
    assert "w32tm /resync" in check.text


def test_the_next_server_is_asked_where_one_does_not_answer() -> None:
    with time_server(90) as server:
        assert not check_clock([("127.0.0.1", 1), server]).ok


def test_without_an_answer_nothing_is_known() -> None:
    check = check_clock([("127.0.0.1", 1)])
    assert check.ok
    assert check.text.startswith("not checked: no network")
