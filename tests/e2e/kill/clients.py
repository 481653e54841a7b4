"""The clients of the kill test, in a process of their own: the Python client as everybody uses it, with a diary each.

    python -m tests.e2e.kill.clients URL[,URL...] FOLDER COUNT LATE_S SEED CODES_FILE [EVERY]

Each of the URLs gets as many clients of every kind. Every so many-th (``EVERY``, 10) wants the whole market; where
those are fewer than every tenth, most of the others want a few names; where it is 0, all do. Two thirds come at once
(then ``ready`` is printed), the others within ``LATE_S`` seconds, some of them while there is no hub. After a line
``finish AT`` each goes on until it has everything up to that arrival number, writes its diary into the folder, and
ends; then ``done`` is printed.
"""

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

from argus_client import ConnectError, ConnectionLost, Gap, Hub, Reconnected, Subscription, connect
from tests.e2e.kill.diary import Diary

PATTERNS: Final = (
    ("tick:6*.SH",),
    ("tick:*.SZ",),
    ("tick:688*", "tick:*7.SH"),
    ("tick:3*5.SZ",),
    ("tick:*88*", "tick:60*1.SH"),
    ("tick:0*.SZ", "tick:*.BJ"),
    ("tick:9*",),
)
TRY_AGAIN_S: Final = 0.5
MANY: Final = 10
MOST_FEW: Final = 60


def some_topics(number: int, chance: random.Random, codes: list[str], every: int) -> list[str]:
    """What a client wants: every so many-th the whole market, the others patterns, names, or both of them."""
    if every == 0:
        return [f"tick:{code}" for code in chance.sample(codes, chance.randint(1, len(codes)))]
    if number % every == 0:
        return ["tick:*"]
    if every > MANY and number % MANY != 1:
        return [f"tick:{code}" for code in chance.sample(codes, chance.randint(1, MOST_FEW))]
    names = [f"tick:{code}" for code in chance.sample(codes, chance.randint(1, min(200, len(codes) // 4)))]
    match number % 3:
        case 0:
            return list(PATTERNS[number % len(PATTERNS)])
        case 1:
            return names
        case _:
            return [*chance.choice(PATTERNS), *names[:20]]


class Writer:
    """One client and its diary."""

    def __init__(self, url: str, diary: Diary, finish: "asyncio.Future[int]") -> None:
        self.joined = asyncio.Event()
        self._url = url
        self._diary = diary
        self._finish = finish
        self._beat = asyncio.Event()

    async def write(self) -> Diary:
        """Take everything from the first row on, whatever happens to the hub, until all of it is here."""
        while True:
            try:
                hub, items = await self._begin()
                break
            except (ConnectError, ConnectionLost):  # no hub now, or not for long enough, as for anybody who comes then
                await asyncio.sleep(TRY_AGAIN_S)
        self.joined.set()
        async with hub:
            taking = asyncio.create_task(self._take(items))
            while not (taking.done() or self._has_all(hub, items)):
                await self._beat.wait()
                self._beat.clear()
            if taking.done():
                taking.result()
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
        return self._diary

    async def _begin(self) -> tuple[Hub, Subscription[Any]]:
        """Connect and subscribe. Only from then on does the client itself see to it that there is a connection."""
        hub = await connect(
            self._url,
            encoding="json" if self._diary.encoding == "json" else "msgpack",
            on_heartbeat=lambda _: self._beat.set(),
            on_disconnect=self._lost,
            on_reconnect=self._back,
        )
        try:
            return hub, await hub.subscribe(*self._diary.topics, since={"time": 0}, inline_gaps=True)
        except ConnectionLost:
            await hub.close()
            raise

    async def _take(self, items: Subscription[Any]) -> None:
        diary = self._diary
        async for item in items:
            if isinstance(item, Gap):
                seqs, times = (item.from_seq, item.to_seq), (item.from_time, item.to_time)
                diary.take_gap(item.topic, item.cause, *seqs, *times)
            else:
                diary.take_row(item, time.time())

    def _has_all(self, hub: Hub, items: Subscription[Any]) -> bool:
        """Whether everything up to the end was taken. A heartbeat alone tells nothing: it may precede the resume."""
        if not self._finish.done() or items.queued:
            return False
        position = hub.position()
        at = position.get("at")
        return not position.get("unfinished") and at is not None and at >= self._finish.result()

    def _lost(self, _: object) -> None:
        self._diary.lost += 1

    def _back(self, back: Reconnected) -> None:
        if not back.same_history:
            self._diary.take_gap("*", "another history")


async def main(
    urls: list[str], folder: Path, count: int, late_s: float, seed: int, codes: list[str], every: int = 10
) -> None:
    """Run all clients."""
    loop = asyncio.get_running_loop()
    finish: asyncio.Future[int] = loop.create_future()
    chance = random.Random(seed)
    diaries = [Diary(some_topics(n, chance, codes, every), chance.choice(("msgpack", "json"))) for n in range(count)]
    # So that clients of every kind come to each of the hubs.
    writers = [Writer(urls[n * 7 // 3 % len(urls)], diary, finish) for n, diary in enumerate(diaries)]

    async def live(number: int) -> None:
        if number % 3 == 2:
            await asyncio.sleep(chance.uniform(0, late_s))
        diary = await writers[number].write()
        diary.write(folder / f"client-{number:03}.diary")

    async def listen() -> None:
        for writer in writers[:2]:
            await writer.joined.wait()
        for number, writer in enumerate(writers):
            if number % 3 != 2:
                await writer.joined.wait()
        _say("ready")
        words = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        finish.set_result(int(words[1]))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        for number in range(count):
            tasks.create_task(live(number))
    _say("done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _urls, _folder, _count, _late_s, _seed, _codes_file, *_every = sys.argv[1:]
    _codes = Path(_codes_file).read_text(encoding="utf-8").split()
    _numbers = int(_count), float(_late_s), int(_seed)
    asyncio.run(main(_urls.split(","), Path(_folder), *_numbers, _codes, *map(int, _every)))
