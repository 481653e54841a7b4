"""The limit of open files: raised as far as it is needed and allowed, and told in clients."""

import sys
from collections.abc import Iterator

import pytest

from hub.handles import OTHER_FILES, room_for

resource = pytest.importorskip("resource", reason="Windows has no such limit")
NOFILE = 0 if sys.platform == "win32" else resource.RLIMIT_NOFILE
NONE = -1 if sys.platform == "win32" else resource.RLIM_INFINITY


class Limit:
    """The system's limit, as a test has it."""

    def __init__(self, soft: int, hard: int) -> None:
        self.now = soft, hard
        self.refuses = False

    def get(self, kind: int) -> tuple[int, int]:
        assert kind == NOFILE
        return self.now

    def set(self, kind: int, limits: tuple[int, int]) -> None:
        assert kind == NOFILE
        if self.refuses:
            raise ValueError("current limit exceeds maximum limit")
        self.now = limits


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    found = Limit(1024, 4096)
    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", found.get)
        patch.setattr(resource, "setrlimit", found.set)
        yield found


def test_the_limit_is_raised_to_what_the_clients_need_and_no_further(limit: Limit) -> None:
    assert room_for(2000) == 2000
    assert limit.now == (2000 + OTHER_FILES, 4096)


def test_where_the_system_allows_less_fewer_clients_fit(limit: Limit) -> None:
    assert room_for(20_000) == 4096 - OTHER_FILES
    assert limit.now == (4096, 4096)


def test_a_limit_that_is_high_enough_is_left_alone(limit: Limit) -> None:
    limit.refuses = True
    assert room_for(100) == 100


@pytest.mark.parametrize("soft", [1024, NONE])
def test_a_system_without_a_limit_is_never_in_the_way(limit: Limit, soft: int) -> None:
    limit.now = soft, NONE
    assert room_for(1_000_000) == 1_000_000


def test_a_system_that_refuses_what_it_seemed_to_allow_leaves_what_there_is(limit: Limit) -> None:
    limit.now, limit.refuses = (1024, NONE), True
    assert room_for(2000) == 1024 - OTHER_FILES
    limit.now = 256, NONE
    assert room_for(2000) == 1, "a hub without a client would be no hub"
