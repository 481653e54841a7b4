"""What asks a program to end. How Windows asks is in tests/windows/test_hub.py."""

import asyncio
import signal
import sys

import pytest

from bridge.stopping import until_signal


@pytest.mark.skipif(sys.platform == "win32", reason="a console asks there, not a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_the_program_for_the_length_of_the_block(number: signal.Signals) -> None:
    stopped = asyncio.Event()
    before = signal.getsignal(number)
    with until_signal(stopped.set):
        signal.raise_signal(number)
        async with asyncio.timeout(10):
            await stopped.wait()
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)
