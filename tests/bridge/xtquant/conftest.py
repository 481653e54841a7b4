"""The real package, imported once for all tests of the terminal."""

from pathlib import Path

import pytest

from tests.bridge.xtquant.support.running import imported
from tests.bridge.xtquant.support.wheel import installed


@pytest.fixture(scope="session")
def folder() -> Path:
    """Where xtquant is imported from; tests that need it are skipped where it can't be downloaded."""
    found = installed()
    imported(found)
    return found
