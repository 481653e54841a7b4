"""How fast requests leave, by a clock that the test turns."""

import asyncio

import pytest
from fake_hub import FakeHub, Peer
from reconnecting import AT_ONCE, in_turn

from argus_client import connect
from argus_client.pace import BURST_S, Pace

HUB_BURST_S = 5.0


def tokens_left(pace: Pace, per_s: float, requests: int) -> float:
    """The fewest tokens that the hub's bucket has while a client sends as fast as it may."""
    now_s, tokens, fewest = 1000.0, max(1.0, per_s * HUB_BURST_S), 1.0
    for _ in range(requests):
        pause_s = pace.take(now_s)
        now_s += pause_s
        tokens = min(max(1.0, per_s * HUB_BURST_S), tokens + pause_s * per_s) - 1
        fewest = min(fewest, tokens)
    return fewest


@pytest.mark.parametrize("per_s", [0.1, 0.5, 1, 7, 200, 10_000])
def test_the_hub_never_has_to_refuse_whoever_waits_for_each_turn(per_s: float) -> None:
    pace = Pace.of({"requests_per_s": per_s})
    assert tokens_left(pace, per_s, 50 + int(per_s * 20)) > -1e-6


def test_a_burst_goes_out_at_once_and_what_follows_at_the_rate() -> None:
    pace = Pace(200)
    pauses = [pace.take(7.0) for _ in range(1001)]
    assert pauses[: int(200 * BURST_S)] == [0.0] * int(200 * BURST_S)
    assert pauses[-1] == pytest.approx(1.005)
    assert pace.take(100.0) == 0


@pytest.mark.parametrize("limits", [{}, {"requests_per_s": None}, {"requests_per_s": 0}, {"requests_per_s": "many"}])
def test_a_hub_that_names_no_rate_is_asked_at_once(limits: dict[str, object]) -> None:
    pace = Pace.of(limits)
    assert [pace.take(1.0) for _ in range(5000)] == [0.0] * 5000


def test_nothing_goes_out_before_the_hub_wants_to_be_asked_again_and_then_no_burst() -> None:
    pace = Pace(10)
    pace.take(1.0)
    pace.hold(3.0)
    assert [pace.take(1.0) for _ in range(3)] == pytest.approx([2.0, 2.1, 2.2])


async def test_twelve_hundred_subscriptions_are_taken_up_at_the_hub_s_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    many = 1200
    pauses: list[float] = []

    def take(pace: Pace, now_s: float) -> float:
        pauses.append(real_take(pace, 5.0))  # nothing takes any time
        return 0.0

    async def first(peer: Peer) -> None:
        for _ in range(many):
            await peer.subscribed(await peer.expect("subscribe"))
        pauses.clear()
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        for _ in range(many):
            await peer.subscribed(await peer.expect("subscribe"))
        told.set()
        await peer.idle()

    told = asyncio.Event()
    real_take = Pace.take
    monkeypatch.setattr(Pace, "take", take)
    welcome = {"limits": {"requests_per_s": 200}}
    async with FakeHub(in_turn(first, second), welcome=welcome) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        kept = [await hub.subscribe(f"tick:{n:06d}.SH", since="none") for n in range(many)]
        await told.wait()
        assert len(kept) == many
    assert pauses[: int(200 * BURST_S)] == [0.0] * int(200 * BURST_S)
    assert pauses[many - 1] == pytest.approx(many / 200 - BURST_S)
