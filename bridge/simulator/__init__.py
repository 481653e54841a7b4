"""An A-share market that is invented, but behaves: for demos, tests and benchmarks at any hour, repeatable by seed."""

from bridge.simulator.faults import Fault, FaultKind, SourceCrashed
from bridge.simulator.source import SimulatorSource
from bridge.simulator.universe import Instrument

__all__ = ["Fault", "FaultKind", "Instrument", "SimulatorSource", "SourceCrashed"]
