"""A hub under churn, slow readers and bad lines keeps its promise to everybody, and is afterwards what it was before.

``SOAK_S`` says for how many seconds (30 without it; ``make soak`` takes ten minutes).
"""

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from tests.e2e.soak.visitors import Visit, Visitor, churner, mute, mute_for_ever, stranger, traveller, trickler
from tests.e2e.soak.vitals import Patient, Vitals
from tests.e2e.support.child import Child
from tests.e2e.support.plain_client import Data, plain_client

SOAK_S: Final = float(os.environ.get("SOAK_S", "30"))
ROUND_S: Final = 5.0 if SOAK_S < 120 else 25.0
WARM_UP_ROUNDS: Final = 2
OF_ONE_CONNECTION: Final = 4
"""Objects of a class that one connection may have: the hub's watches still have the one in hand that they saw last."""
JOURNAL_HANDLES: Final = 12
"""The newest file of the journal, written and read, and six older ones at most that are being read."""
SLACK_BYTES: Final = 32_000_000 if SOAK_S < 120 else 6_000_000
"""Memory is given back and asked for again; and a short life ends before every bounded store in it is full."""
SEED: Final = 20260901
SPEED: Final = 5
CROWD: Final[dict[Visitor, int]] = {churner: 8, trickler: 3, mute: 3, traveller: 2, stranger: 2}
MARKET: Final = ("--symbols", "400", "--interval", "1", "--speed", str(SPEED), "--heartbeat-s", "0.2")
BOUNDS: Final = (
    *("--ring-bytes", "4194304", "--journal-bytes", "16777216"),  # both are full early
    *("--max-pending-bytes", "500000", "--stall-s", "2"),
)
SEEN_BY_CLIENTS: Final = ("live", "replay", "snapshot", "gap evicted", "cancelled", "replay_done", "unsubscribed")
CLOSED_SLOW: Final = "argus_clients_closed_slow_total"
SEEN_BY_HUB: Final = ("argus_rows_evicted_total", "argus_rows_conflated_total", CLOSED_SLOW)
FAULTS: Final = ("silence", "disconnect", "duplicate", "out_of_order", "zero_time")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")


def source_faults(chance: random.Random) -> list[str]:
    """Something goes wrong with the source every few seconds, for a few seconds, in its own time."""
    texts = []
    at_s = 0.0
    while at_s < SOAK_S * SPEED * 2:
        at_s += chance.uniform(10, 40)
        texts.append(f"--faults={chance.choice(FAULTS)}@{at_s:.0f}+{chance.randrange(1, 10)}")
    return texts


async def all_codes(url: str) -> list[str]:
    """Every instrument of the market."""
    async with plain_client(url) as client:
        await client.send("subscribe", id=1, topics=["tick:*"])
        await client.until(lambda message: isinstance(message, Data))  # a first batch has every instrument
        reply = await client.request("topics", "topics", id=2, pattern="tick:*")
        return [topic["topic"].removeprefix("tick:") for topic in reply["topics"]]


async def one_round(url: str, codes: list[str], chance: random.Random) -> Counter[str]:
    """Let the whole crowd in for a while; what it was given. Raises what any of them found wrong."""
    leave = asyncio.Event()
    visit = Visit(url, codes, leave)
    visitors = [visitor for visitor, count in CROWD.items() for _ in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for visitor in visitors:
            tasks.create_task(visitor(visit, random.Random(chance.random())))
        asyncio.get_running_loop().call_later(ROUND_S, leave.set)
    return visit.counts


async def given_up(url: str, patient: Patient) -> Counter[str]:
    """Let somebody in who reads nothing at all; what it was given before the hub had enough of that."""
    visit = Visit(url, [], asyncio.Event())
    before = (await patient.figures())[CLOSED_SLOW]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(mute_for_ever(visit, random.Random(SEED)))
        await patient.until_above(CLOSED_SLOW, before)
        visit.leave.set()
    return visit.counts


def report(rests: list[Vitals], counts: Counter[str], figures: dict[str, float]) -> str:
    memory = " ".join(f"{rest.rss_bytes / 1e6:.0f}" for rest in rests)
    seen = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))
    also = ", ".join(f"{name} {figures[name]:,.0f}" for name in SEEN_BY_HUB)
    return f"\nsoak of {len(rests)} rounds of {ROUND_S:g} s: MB at rest {memory}; {seen}; {also}\n"


async def test_a_hub_that_lived_through_churn_and_faults_is_what_it_was_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    counts_file, log_file = tmp_path / "counts.json", tmp_path / "hub.log"
    options = ("--port", "0", "--data", str(tmp_path / "data"), *MARKET, *BOUNDS, *source_faults(chance))
    program = ("tests/e2e/soak/observed_hub.py", str(counts_file))
    hub = await Child.start(*program, *options, log_file=log_file)
    try:
        port = int((await hub.line(r"Argus Hub is listening on http://127\.0\.0\.1:(\d+)/.*"))[1])
        url = f"ws://127.0.0.1:{port}/ws"
        patient = Patient(hub, port, counts_file)
        codes = await all_codes(url)
        counts: Counter[str] = Counter()
        rests: list[Vitals] = []
        for _ in range(max(WARM_UP_ROUNDS + 3, round(SOAK_S / ROUND_S))):
            counts += await one_round(url, codes, chance)
            rests.append(await patient.at_rest())
        counts += await given_up(url, patient)
        rests.append(await patient.at_rest())
        figures = await patient.figures()
    finally:
        await hub.stop()
    with capsys.disabled():
        sys.stdout.write(report(rests, counts, figures))

    base, *others = rests[WARM_UP_ROUNDS - 1 :]
    for rest in others:
        more = {name: count for name, count in (rest.objects - base.objects).items() if count > OF_ONE_CONNECTION}
        assert more == {}, "objects of clients that are gone"
        assert rest.threads == base.threads
        for kind in ("socket", "other"):
            assert rest.handles[kind] == base.handles[kind], f"handles: {rest.handles}"
        assert rest.handles["journal"] <= JOURNAL_HANDLES, f"handles: {rest.handles}"
        assert not rest.handles["deleted"], f"handles: {rest.handles}"
    third = len(rests) // 3
    earlier, later = (median(rest.rss_bytes for rest in part) for part in (rests[third:-third], rests[-third:]))
    assert later <= earlier + SLACK_BYTES, f"memory at rest grew from {earlier / 1e6:.0f} to {later / 1e6:.0f} MB"
    assert "ERROR" not in hub.log(), hub.log()
    assert "CRITICAL" not in hub.log(), hub.log()
    # Without these it might have passed because nothing happened.
    for name in SEEN_BY_CLIENTS:
        assert counts[name] > 0, f"nobody had {name}: {counts}"
    for name in SEEN_BY_HUB:
        assert figures[name] > 0, f"{name} is 0"
