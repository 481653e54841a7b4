"""The tests of what touches the system (files, locks, sockets, processes), run by the Python of Windows itself."""

import re
from typing import Final

import pytest

from tests.windows.support.preparing import ROOT
from tests.windows.support.wine import Windows

MODULES: Final = {
    "journal": "tests/hub/test_journal_*.py tests/hub/test_opening.py tests/hub/test_store.py "
    "tests/hub/test_logfile.py",
    "server": "tests/hub/test_server*.py tests/hub/test_handles.py tests/hub/test_pages.py tests/hub/test_config.py",
    "bridge": "tests/bridge/test_feed_isolation.py tests/bridge/test_feed_endpoint.py tests/bridge/test_listening.py "
    "tests/bridge/test_recorder.py tests/bridge/test_rowfile.py tests/bridge/test_doctor.py tests/bridge/test_clock.py",
}

TOO_STRICT_FOR_WINE: Final = {
    "journal": "",
    "server": "test_an_idle_client_weighs_little or test_heartbeats_that_are_due_together",
    "bridge": "parquet",
}
"""What holds a figure of Linux against Wine (memory of an idle client, a clock of 1 ms), and pyarrow, left out."""

INSIDE_S: Final = 600


@pytest.mark.parametrize("part", MODULES)
def test_the_tests_of(part: str, windows: Windows) -> None:
    found = sorted(str(path) for pattern in MODULES[part].split() for path in ROOT.glob(pattern))
    names = [name.removeprefix(f"{ROOT}/") for name in found]
    left_out = TOO_STRICT_FOR_WINE[part]
    options = ["-p", "no:cacheprovider", "--no-cov", "-q", "--tb=short", "--basetemp", r"C:\tests"]
    done = windows.run(
        "-m", "pytest", *options, *(["-k", f"not ({left_out})"] if left_out else []), *names, patience_s=INSIDE_S
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 50
