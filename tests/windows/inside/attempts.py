"""Runs the source xtquant where no terminal is, with hardly a pause between its attempts, and counts them aloud."""

import asyncio
import sys
from datetime import time
from pathlib import Path
from typing import Any

from bridge.xtquant import Options, XtquantSource


class Sink:
    """Prints what the source says of itself."""

    def report(self, status: Any) -> None:
        print(status.state.value, status.reason, flush=True)

    def tell(self, told: Any) -> None:
        """Figures and reference data: not what this is about."""


def pause_s(failures: int) -> float:
    print("attempt", failures + 1, flush=True)
    return 0.01


if __name__ == "__main__":
    options = Options(sectors=("沪深A股",), data=Path(sys.argv[1]), refresh_at=time(8, 45), probe_at=time(9, 5))
    asyncio.run(XtquantSource(options, pause_s=pause_s).run(Sink()))
