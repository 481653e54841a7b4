"""What a run was made on, since figures mean nothing without it."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]


def machine() -> dict[str, Any]:
    """Processor, system and load, as the system tells."""
    system = _found(r'^PRETTY_NAME="(.+)"$', "/etc/os-release") or platform.system()
    return {
        "cpu": _found(r"^model name\s*:\s*(.+)$", "/proc/cpuinfo") or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_found(r"^MemTotal:\s+(\d+) kB", "/proc/meminfo") or 0) / 2**20, 1),
        "system": f"{system}, Linux {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def revision() -> str:
    """The commit that is measured, with a + where files differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{_git('rev-parse', '--short', 'HEAD') or 'unknown'}{'+' if changed else ''}"


def _git(*words: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def _found(pattern: str, path: str) -> str:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""
