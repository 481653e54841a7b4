"""The command line of the service elsewhere than on Windows. What it does there is in tests/windows/test_service.py."""

import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[1] / "service.py"


@pytest.mark.skipif(sys.platform == "win32", reason="there it works")
@pytest.mark.parametrize("arguments", [(), ("install", "--port", "9000"), ("start",), ("nonsense",)])
def test_elsewhere_it_answers_with_one_line(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, str(SERVICE), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "service.py: services of this kind are for Windows; here use systemd, or `make run`\n"
