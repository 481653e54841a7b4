"""What the tests of broken connections share: scripts for a hub that is connected to again, and positions."""

from collections.abc import Awaitable, Callable
from typing import Any

from fake_hub import WELCOME, Peer

from argus_client import (
    Backoff,
)

EPOCH = WELCOME["epoch"]
OTHER_EPOCH = "00000000000000cd"
AT_ONCE = Backoff(uniform=lambda least, most: 0.0)

Script = Callable[[Peer], Awaitable[None]]


def in_turn(*scripts: Script) -> Script:
    """One script for each connection."""
    left = iter(scripts)

    async def run(peer: Peer) -> None:
        await next(left)(peer)

    return run


async def beat(peer: Peer, at: int) -> None:
    await peer.say("heartbeat", time=1, at=at, conflated=0, markets={})


def position(at: int | None, **seqs: int) -> dict[str, Any]:
    """A resume, with topics as keywords: ``A=3`` is the topic tick:A.SH."""
    known = {} if at is None else {"at": at}
    return {"epoch": EPOCH, **known, "seq": {f"tick:{code}.SH": seq for code, seq in seqs.items()}}
