"""What a running hub holds, seen from outside: memory, handles, its own figures, and counts of its objects."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from tests.e2e.support.child import PATIENCE_S, Child

LOOK_S: Final = 0.05
MOST_LOOKS: Final = 200
OF_CLIENTS: Final = ("argus_clients", "argus_subscriptions", "argus_audiences", "argus_pending_bytes")


@dataclass(frozen=True, slots=True)
class Vitals:
    """A hub that nobody visits. ``handles`` by kind; ``objects``: those that belong to clients, by class, and tasks."""

    rss_bytes: int
    threads: int
    handles: Counter[str]
    objects: Counter[str]


class Patient:
    """An observed hub: its process, and where it writes its counts."""

    def __init__(self, child: Child, port: int, counts_file: Path) -> None:
        self._child = child
        self._port = port
        self._counts_file = counts_file

    async def figures(self) -> dict[str, float]:
        """Every figure of the metrics page; those with labels under name and labels."""
        page = await asyncio.to_thread(self._metrics)
        return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", page, re.MULTILINE)}

    async def until_above(self, name: str, value: float) -> None:
        """Wait until a figure is above a value."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.figures())[name] <= value:  # noqa: ASYNC110 - another process counts it
                await asyncio.sleep(LOOK_S)

    async def at_rest(self) -> Vitals:
        """Look when nobody is left and two looks in a row found the same, or at last when that does not come about.

        It is another process: there is nothing to await but what it shows.
        """
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_left():  # noqa: ASYNC110 - another process leaves it
                await asyncio.sleep(LOOK_S)
            before, vitals = None, await self._look()
            for _ in range(MOST_LOOKS):
                if before is not None and (before.objects, before.handles) == (vitals.objects, vitals.handles):
                    break
                await asyncio.sleep(LOOK_S)
                before, vitals = vitals, await self._look()
            return vitals

    async def _look(self) -> Vitals:
        objects = await self._count()
        return Vitals(*self._memory_and_threads(), self._handles(), objects)

    def _memory_and_threads(self) -> tuple[int, int]:
        status = Path(f"/proc/{self._child.pid}/status").read_text(encoding="ascii")
        rss, threads = (int(found) for found in re.findall(r"^(?:VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
        return rss * 1024, threads

    async def _is_left(self) -> bool:
        figures = await self.figures()
        return not any(figures[name] for name in OF_CLIENTS)

    async def _count(self) -> Counter[str]:
        self._counts_file.unlink(missing_ok=True)
        os.kill(self._child.pid, signal.SIGUSR1)
        while not self._counts_file.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(LOOK_S)
        return Counter(json.loads(self._counts_file.read_text(encoding="utf-8")))

    def _handles(self) -> Counter[str]:
        kinds: Counter[str] = Counter()
        for handle in Path(f"/proc/{self._child.pid}/fd").iterdir():
            try:
                target = str(handle.readlink())
            except FileNotFoundError:
                continue  # closed meanwhile
            if target.startswith("socket:"):
                kinds["socket"] += 1
            elif target.endswith(" (deleted)"):
                kinds["deleted"] += 1
            else:
                kinds["journal" if Path(target).suffix in (".rows", ".marks") else "other"] += 1
        return kinds

    def _metrics(self) -> str:
        with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=PATIENCE_S) as page:
            text: str = page.read().decode()
            return text
