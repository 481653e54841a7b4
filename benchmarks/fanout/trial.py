"""One contestant at one workload, once: a fresh server, its clients, the feeder, and what the system counts."""

import json
import os
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.fanout.contestants import Contestant
from benchmarks.fanout.contestants.base import Place, Served, TrialFailed
from benchmarks.fanout.figures import percentile
from benchmarks.fanout.profiling import find_py_spy, profiled
from benchmarks.fanout.rows import RowMaker, plan_sends, topic
from benchmarks.fanout.workloads import Workload

READY_TIMEOUT_S: Final = 120.0
GRACE_S: Final = 5.0
"""How long after its time a row may come and still count."""
START_IN_S: Final = 0.2
SETTLE_S: Final = 0.5
_NEVER_READS, _READY_WHEN_OPEN = 1, 2


class Bench:
    """What trials have in common: the compiled programs, where to work, and which processors are whose."""

    def __init__(
        self, programs: dict[str, Path], cache: Path, *, pins: bool = True, profiles: Path | None = None
    ) -> None:
        self._programs = programs
        self._cache = cache.resolve()
        self._profiles = profiles
        self._py_spy = find_py_spy(cache) if profiles else ""
        cpus = sorted(os.sched_getaffinity(0))
        self.pins = pins and len(cpus) > 1
        """Whether the server has the first processor, and reader and feeder have the last."""
        self._server_cpus = frozenset(cpus[:1]) if self.pins else None
        self._load_cpus = frozenset(cpus[-1:]) if self.pins else None

    def run(self, contestant: Contestant, workload: Workload) -> dict[str, Any]:
        """Run one trial. Returns every raw figure. Raises TrialFailed."""
        with tempfile.TemporaryDirectory(dir=self._cache) as name, ExitStack() as stack:
            place = Place(Path(name), self._cache, None if contestant.has_threads else self._server_cpus)
            served = stack.enter_context(contestant.serve(place))
            plan = place.folder / "clients"
            plan.write_bytes(_plan_clients(contestant, workload))
            row = RowMaker(workload.channel, workload.levels)
            options = (contestant.dialect, str(len(row.tail)), str(workload.connects_per_s))
            before = {"rss": _rss_bytes(served.pids), "cpu": cpu_s(served.pids)}
            more = ("batches",) if workload.has_bursts else ()
            reader = stack.enter_context(self._program("reader", str(served.port), str(plan), *options, *more))
            opened = reader.hear(READY_TIMEOUT_S)
            if not workload.seconds:
                return _idle(workload, served, opened, before)
            feed = stack.enter_context(contestant.open_feed(served))
            sends = place.folder / "sends"
            sends.write_bytes(_plan_feed(contestant, workload, row))
            feed.setblocking(True)  # introduced with a limit of time, from now on the pacer's
            os.set_inheritable(feed.fileno(), True)
            command = (str(feed.fileno()), str(sends), contestant.feeds_by)
            feeder = stack.enter_context(self._program("pacer", *command, fds=(feed.fileno(),)))
            if self._profiles is not None:
                stacks = self._profiles / f"{workload.name}-{contestant.name}.stacks"
                stack.enter_context(profiled(self._py_spy, served.pids[0], stacks))
            return _measure(workload, served, opened, reader, feeder) | {"row_bytes": row.size}

    def attempt(self, contestant: Contestant, workload: Workload) -> dict[str, Any]:
        """Run one trial. Returns every raw figure, or in ``failed`` why there are none."""
        try:
            return self.run(contestant, workload)
        except TrialFailed as failed:
            return {"failed": str(failed)}
        except Exception as error:  # a server that ends in the middle of things must not end the others' run
            return {"failed": f"{type(error).__name__}: {error}"}

    @contextmanager
    def _program(self, name: str, *arguments: str, fds: Sequence[int] = ()) -> "Iterator[_Program]":
        pinned = ["taskset", "--cpu-list", ",".join(map(str, self._load_cpus))] if self._load_cpus else []
        process = subprocess.Popen(  # noqa: S603 - our own
            [*pinned, str(self._programs[name]), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=fds,
        )
        try:
            yield _Program(name, process)
        finally:
            process.kill()
            process.communicate()


class _Program:
    """The reader or the pacer while it runs: lines in, lines of JSON out."""

    def __init__(self, name: str, process: "subprocess.Popen[str]") -> None:
        self.pid = process.pid
        self._name = name
        self._process = process

    def tell(self, *numbers: int) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write(" ".join(map(str, numbers)) + "\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        alarm = threading.Timer(timeout_s, self._process.kill)
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        if not line:
            said = self._process.communicate()[1].strip()
            raise TrialFailed(f"the {self._name} has ended: {said or f'nothing came for {timeout_s:g} s'}")
        heard: dict[str, Any] = json.loads(line)
        return heard


def _measure(
    workload: Workload, served: Served, opened: dict[str, Any], reader: _Program, feeder: _Program
) -> dict[str, Any]:
    _, from_ns, to_ns = workload.schedule()
    expected = workload.expected_rows()
    start_us = round((time.time() + START_IN_S) * 1e6)
    from_us, to_us = start_us + from_ns // 1000, start_us + to_ns // 1000
    seconds = (to_us - from_us) / 1e6
    reader.tell(from_us, to_us, expected, to_us + round(GRACE_S * 1e6))
    feeder.tell(start_us)
    time.sleep(max(0.0, from_us / 1e6 - 0.05 - time.time()))
    cpu = {"server": cpu_s(served.pids), "reader": cpu_s((reader.pid,)), "feeder": cpu_s((feeder.pid,))}
    split = cpu_split_s(served.pids)
    beside = {name: cpu_s(pids) for name, pids in served.beside.items()}
    begun_s = time.time()
    read = reader.hear(seconds + 2 * GRACE_S)
    if read["rows"] == expected and time.time() < to_us / 1e6:
        time.sleep(max(0.0, to_us / 1e6 - time.time()))  # what the server does after the last row is part of it
    spent = {
        "server_cpu_s": cpu_s(served.pids) - cpu["server"],
        "reader_cpu_s": cpu_s((reader.pid,)) - cpu["reader"],
        "feeder_cpu_s": cpu_s((feeder.pid,)) - cpu["feeder"],
        "beside_cpu_s": {name: cpu_s(pids) - beside[name] for name, pids in served.beside.items()},
        "seconds": time.time() - begun_s,
    }
    now = cpu_split_s(served.pids)
    return {
        **spent,
        "server_user_s": now[0] - split[0],
        "server_system_s": now[1] - split[1],
        "server_rss_bytes": _rss_bytes(served.pids),
        "expected_rows": expected,
        "fed_rows": workload.fed_rows(),
        "opened": opened,
        "reader": read,
        "feeder": feeder.hear(GRACE_S + seconds),
    }


def _idle(workload: Workload, served: Served, opened: dict[str, Any], before: dict[str, float]) -> dict[str, Any]:
    time.sleep(SETTLE_S)
    rss_bytes = _rss_bytes(served.pids)
    return {
        "opened": opened,
        "rss_bytes": rss_bytes,
        "rss_bytes_per_client": (rss_bytes - before["rss"]) / workload.clients,
        "cpu_us_per_client": (cpu_s(served.pids) - before["cpu"]) / workload.clients * 1e6,
        "open_s": opened["seconds"],
        "open_p99_ms": (percentile(opened["opening_ns"], 0.99) or 0.0) / 1e6,
    }


def _plan_clients(contestant: Contestant, workload: Workload) -> bytes:
    parts = [struct.pack("<I", workload.clients)]
    for number, symbols in workload.subscriptions():
        flags = 0 if workload.groups[number].reads else _NEVER_READS
        flags |= _READY_WHEN_OPEN if contestant.ready_when_open else 0
        topics = [topic(workload.channel, symbol) for symbol in symbols or ()]
        request, hello = contestant.request(topics), contestant.hello(topics)
        parts += [struct.pack("<BBI", number, flags, len(request)), request, struct.pack("<I", len(hello)), hello]
    return b"".join(parts)


def _plan_feed(contestant: Contestant, workload: Workload, row: RowMaker) -> bytes:
    sends, _, _ = workload.schedule()
    return plan_sends((contestant.message(row, batch) for batch in workload.all_batches), sends)


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds that processes have used so far in user and system mode, threads that ended included.

    The clock of another process (Linux: clock_getcpuclockid(3)), which is exact where /proc counts in hundredths.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def cpu_split_s(pids: Sequence[int]) -> tuple[float, float]:
    """CPU seconds in user and in system mode, in hundredths."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return user / ticks_per_s, system / ticks_per_s


def _rss_bytes(pids: Sequence[int]) -> int:
    pages = (int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in pids)
    return sum(pages) * os.sysconf("SC_PAGESIZE")
