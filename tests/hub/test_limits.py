"""The bucket of requests: bursts, refill, debt, flood, and how long to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.limits import BURST_S, Limits, TokenBucket

RATE_PER_S = 2.0
BURST = int(RATE_PER_S * BURST_S)


def drained(rate_per_s: float = RATE_PER_S) -> TokenBucket:
    """A bucket whose last token was just taken, at time 0."""
    bucket = TokenBucket(rate_per_s, 0.0)
    assert all(bucket.take(0.0) for _ in range(int(rate_per_s * BURST_S)))
    return bucket


def test_limits_say_what_they_hold() -> None:
    limits = Limits(message_bytes=1, topics=2, requests_per_s=3.0, pending_bytes=4)
    assert (limits.message_bytes, limits.topics, limits.requests_per_s, limits.pending_bytes) == (1, 2, 3.0, 4)


def test_a_burst_is_allowed_and_not_one_request_more() -> None:
    assert not drained().take(0.0)


def test_a_token_comes_back_with_time() -> None:
    bucket = drained()
    assert bucket.take(1 / RATE_PER_S)
    assert not bucket.take(1 / RATE_PER_S)


def test_rest_saves_up_no_more_than_one_burst() -> None:
    bucket = TokenBucket(RATE_PER_S, 0.0)
    assert [bucket.take(1e6) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_the_sustained_rate_is_never_refused() -> None:
    bucket = TokenBucket(RATE_PER_S, 0.0)
    assert all(bucket.take(number / RATE_PER_S) for number in range(10 * BURST))


def test_a_client_that_is_refused_a_few_times_is_no_flood() -> None:
    bucket = drained()
    for _ in range(BURST):
        assert not bucket.take(0.0)
        assert not bucket.flooded


def test_a_debt_deeper_than_the_bucket_is_a_flood() -> None:
    bucket = drained()
    for _ in range(BURST + 1):
        bucket.take(0.0)
    assert bucket.flooded


def test_a_rate_below_one_in_a_burst_still_allows_a_request() -> None:
    bucket = TokenBucket(0.1, 0.0)
    assert bucket.take(0.0)
    assert not bucket.take(0.0)


def test_nobody_has_to_wait_while_there_are_tokens() -> None:
    assert TokenBucket(RATE_PER_S, 0.0).wait_ms == 0


def test_the_wait_grows_with_the_debt() -> None:
    bucket = drained()
    bucket.take(0.0)
    assert bucket.wait_ms == 1000
    bucket.take(0.0)
    assert bucket.wait_ms == 1500


@given(st.integers(1, 60), st.integers(1, 5))
def test_who_waits_as_long_as_told_is_welcome(rate_per_s: int, refusals: int) -> None:
    bucket = drained(rate_per_s)
    for _ in range(refusals):
        bucket.take(0.0)
    assert bucket.take(bucket.wait_ms / 1000)


@pytest.mark.parametrize("rate_per_s", [0.1, 1.0, 50.0])
def test_the_wait_is_no_longer_than_needed(rate_per_s: float) -> None:
    bucket = TokenBucket(rate_per_s, 0.0)
    while bucket.take(0.0):
        pass
    assert not bucket.take((bucket.wait_ms - 2) / 1000)
