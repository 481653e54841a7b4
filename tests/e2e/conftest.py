"""Hubs for whole-system tests: started on demand, stopped cleanly after each test, their logs shown on failure."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.support.hub_process import ALIVE, NO_VARIABLES, HubProcess, running_hub


class StartHub(Protocol):
    """Start a hub with these options and environment variables; it is stopped when the test is over."""

    def __call__(self, *options: str, variables: Mapping[str, str] = NO_VARIABLES) -> HubProcess: ...


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[StartHub]:
    with ExitStack() as stack:

        def start(*options: str, variables: Mapping[str, str] = NO_VARIABLES) -> HubProcess:
            log_file = tmp_path / f"hub-{len(list(tmp_path.glob('hub-*.log'))) + 1}.log"
            return stack.enter_context(running_hub(*options, log_file=log_file, variables=variables))

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.extend((f"log of the hub with pid {hub.pid}", hub.log()) for hub in ALIVE)
    return report
