"""Event loops for the tests of the hub: a test that names them (`support.served_hub.BOTH_LOOPS`) runs on each."""

import asyncio
import sys
from collections.abc import Callable, Mapping

import pytest

if sys.platform == "win32":
    from winloop import new_event_loop as new_fast_loop
else:
    from uvloop import new_event_loop as new_fast_loop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"standard": asyncio.new_event_loop}
    if any("loop_factories" in mark.kwargs for mark in item.iter_markers("asyncio")):
        loops["uvloop"] = new_fast_loop
    return loops
