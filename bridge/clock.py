"""How far this machine's clock is off, asked of time servers (NTP).

Every row carries when it was received, and its age is judged against the exchange's time: a clock that is off by
seconds makes a live market look stale, or a mute one live.
"""

from collections.abc import Sequence
from typing import Final

import ntplib

from bridge.check import Check

SERVERS: Final = (("ntp.aliyun.com", 123), ("pool.ntp.org", 123), ("time.windows.com", 123))
"""Asked in turn, until one answers. The first is in China."""
TIMEOUT_S: Final = 2.0
ALLOWED_S: Final = 1.0


def check_clock(servers: Sequence[tuple[str, int]] = SERVERS) -> Check:
    """Compare the clock with the first server that answers; without one, nothing is known and nothing is wrong."""
    why = ""
    for host, port in servers:
        try:
            offset_s = ntplib.NTPClient().request(host, version=4, port=port, timeout=TIMEOUT_S).offset
        except (ntplib.NTPException, OSError) as error:
            why = str(error)
            continue
        if abs(offset_s) <= ALLOWED_S:
            return Check("clock", True, f"{offset_s * 1000:+.0f} ms to {host}")
        wrong = "behind" if offset_s > 0 else "ahead of"
        return Check(
            "clock",
            False,
            f"{abs(offset_s):.1f} s {wrong} {host}: set it (Windows: w32tm /resync, Linux: timedatectl set-ntp true)",
        )
    return Check("clock", True, f"not checked: no network (no time server answered: {why})")
