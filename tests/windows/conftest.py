"""Tests of Windows, under Wine: `make test-windows` sets up what they need and runs them, `make test` does not."""

import os
from collections.abc import Iterator

import pytest

collect_ignore_glob = [] if os.environ.get("WINDOWS_UNDER_WINE") else ["*"]

if not collect_ignore_glob:
    from tests.windows.support.wine import Windows

    @pytest.fixture(scope="session")
    def windows() -> Iterator[Windows]:
        """A Windows of this run's own. Whatever still runs in it at the end is ended."""
        with Windows.boot() as booted:
            yield booted
