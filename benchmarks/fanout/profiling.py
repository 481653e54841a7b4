"""Where a Python server's time goes while it is measured, by py-spy, which looks at it from outside.

A profiled trial has other figures than one that is left alone: they are not to be compared.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

RATE_PER_S: Final = 400
SHOWN: Final = 25


def find_py_spy(cache: Path) -> str:
    """The path of py-spy. Raises SystemExit where it is not installed."""
    found = shutil.which("py-spy") or shutil.which("py-spy", path=str(cache / "peers" / "bin"))
    if found is None:
        raise SystemExit("py-spy is not installed (--install-peers)")
    return found


@contextmanager
def profiled(py_spy: str, pid: int, stacks: Path) -> Iterator[None]:
    """Look at a process for the length of a block; its stacks with their counts go into a file."""
    options = ["--rate", str(RATE_PER_S), "--format", "raw", "--output", str(stacks), "--nonblocking"]
    process = subprocess.Popen(  # noqa: S603 - a tool that was asked for
        [py_spy, "record", "--pid", str(pid), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(2)
        process.wait()


def summary(stacks: Path) -> str:
    """The functions that the samples were in, by how often they were at the top and how often anywhere."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        calls = stack.split(";")
        own[calls[-1]] += int(count)
        within.update(dict.fromkeys(calls, int(count)))
    total = max(1, own.total())
    lines = [f"{total} samples", "  own  within"]
    lines += [f"{own[name] / total:5.1%} {within[name] / total:6.1%}  {name}" for name, _ in own.most_common(SHOWN)]
    return "\n".join(lines)
