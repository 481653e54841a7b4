"""The relay within one process."""

import pytest

from bridge.relay.boundary import Relay
from bridge.relay.memory import MemoryRelay
from tests.bridge.relay_conformance import RelayConformance


class TestMemoryRelay(RelayConformance):
    @pytest.fixture
    def relay(self) -> Relay:
        return MemoryRelay(4)
