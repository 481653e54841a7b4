"""Getting the lease, and what the relay says then: the first steps of every feed, whether it led before or not."""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from bridge.relay.boundary import Head, Ousted, Relay
from bridge.relay.record import Kept
from bridge.relay.state import decode as decode_state
from bridge.relay.succession import Found, Unproven, Verdict, announced, are_alone, judge


@dataclass(slots=True)
class Lease:
    """Who holds it, and until when for certain, by this process's own clock (seconds that only ever grow).

    Args:
        owner: who this is among feeds: random, of this process.
        lease_ms: after so long without a word another feed may take over.
    """

    relay: Relay
    owner: str
    lease_ms: int
    until_s: float = 0.0
    is_unbroken: bool = False
    """Whether it was still held when it was taken last."""

    @property
    def lease_s(self) -> float:
        """How long it runs."""
        return self.lease_ms / 1000

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it."""
        return monotonic() < self.until_s

    async def take(self) -> int | None:
        """Take it, with a new token; None while another feed has it."""
        asked_s = monotonic()
        token = await self.relay.lease(self.owner, self.lease_ms)
        self.is_unbroken = self.is_held
        if token is not None:
            self.until_s = asked_s + self.lease_s
        return token

    async def hold(self, token: int, state: bytes) -> None:
        """Keep it, and tell edges how the feed is. Raises Refused."""
        asked_s = monotonic()
        await self.relay.hold(self.owner, token, self.lease_ms, state)
        self.until_s = asked_s + self.lease_s


class Taken(NamedTuple):
    """The lease, and how to go on with it. ``token``: of the lease; all older ones are shut out of the shards."""

    token: int
    found: Found
    verdict: Verdict


async def take_over(lease: Lease, epoch: str, is_empty: bool, kept: Kept, *, leads: bool) -> Taken | None:
    """Take the lease, and judge how to go on with a history, as `judge` does; None while another feed has the lease.

    Other feeds are heard where nothing else can prove that none of them has led meanwhile.

    Args:
        leads: this feed leads already, for as long as its lease is unbroken.

    Raises:
        RelayAway: the relay was not reached.
        Refused: a newer feed leads.
        Unproven: the history can't be gone on with. The lease is held.
    """
    token = await lease.take()
    if token is None:
        return None
    alone = (leads and lease.is_unbroken) or not kept.others
    found = await _look(lease.relay, token, epoch, alone=alone)
    try:
        return Taken(token, found, judge(epoch, is_empty, kept, found))
    except Unproven:
        is_ours = kept.led or kept.epoch != epoch
        if alone or not is_ours or not await _others_say_so(lease, kept):
            raise
    token = await lease.take()
    if token is None:
        return None
    found = await _look(lease.relay, token, epoch, alone=True)
    return Taken(token, found, judge(epoch, is_empty, kept, found))


async def _look(relay: Relay, token: int, epoch: str, *, alone: bool) -> Found:
    """Shut older feeds out, and see what there is."""
    homes = await relay.homes()
    heads: list[Head] = await asyncio.gather(*(relay.fence(shard, token, epoch) for shard in range(relay.shards)))
    told = decode_state(await relay.state())
    return Found(told, heads, homes if homes == await relay.homes() else (), alone)


async def _others_say_so(lease: Lease, kept: Kept) -> bool:
    """Whether all other feeds say that they have not led. It takes a lease: what they said before it is over then."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + lease.lease_s
    while loop.time() < end_s:
        if await lease.take() is None:
            raise Ousted("another feed has the lease")
        await asyncio.sleep(lease.lease_s / 4)
    return are_alone(kept, announced(await lease.relay.wishes()))
