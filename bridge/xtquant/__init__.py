"""The miniQMT terminal as a source, through its Python package xtquant.

xtquant is closed source, its native part can abort the process, and quotes through it may stop without a word. So
it lives in a feeder process of its own, one thread makes all calls, its callbacks only enqueue, and the age of the
data, held against the trading calendar, says whether it still works.
"""

from bridge.xtquant.options import Options
from bridge.xtquant.source import XtquantSource

__all__ = ["Options", "XtquantSource"]
