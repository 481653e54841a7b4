"""What is measured of the relay: schedules and clients, the same for a hub alone and for an edge behind a feed."""

from typing import Final

from benchmarks.fanout.workloads import ALL, SECOND_NS, Group, Workload
from benchmarks.relay.deployment import Deployment

FORMAT: Final = "argus-relay-1"
"""Of the document of a run."""

BURST_ROWS: Final = 5500
FLOOD_PER_S: Final = 30

STEADY: Final = Workload(
    name="relay-steady",
    what="1,800 rows a second one by one, 300 clients with 50 of 5,400 symbols each",
    groups=(Group("all", 300, 50),),
    batches=tuple((symbol,) for symbol in range(5400)),
    period_ns=SECOND_NS // 1800,
    seconds=10,
    warm_up_s=3.0,
    contestants=("hub", "edge"),
)
BURST: Final = Workload(
    name="relay-burst",
    what="5,500 rows in one batch every 3 s, 300 clients with 50 random symbols each",
    groups=(Group("all", 300, 50),),
    batches=(range(BURST_ROWS),),
    period_ns=3 * SECOND_NS,
    seconds=18,
    has_bursts=True,
    contestants=("hub", "edge"),
)
FLOOD: Final = Workload(
    name="relay-flood",
    what=f"5,500 rows in one batch {FLOOD_PER_S} times a second, one client of the whole market",
    groups=(Group("all", 1, ALL),),
    batches=(range(BURST_ROWS),),
    period_ns=SECOND_NS // FLOOD_PER_S,
    seconds=5,
    has_bursts=True,
    contestants=("hub", "edge"),
)
EDGES: Final = Workload(
    name="relay-edges",
    what="600 rows a second one by one, 50 clients with 50 of 1,800 symbols each, at the first of some edges",
    groups=(Group("all", 50, 50),),
    batches=tuple((symbol,) for symbol in range(1800)),
    period_ns=SECOND_NS // 600,
    seconds=8,
    warm_up_s=3.0,
    contestants=("edge", "edges-2", "edges-4", "held-1", "held-2", "held-4"),
)
WORKLOADS: Final = {workload.name.removeprefix("relay-"): workload for workload in (STEADY, BURST, FLOOD, EDGES)}
DEPLOYMENTS: Final = {
    deployment.name: deployment
    for deployment in (
        *(Deployment(name, edges) for name, edges in (("edge", 1), ("edges-2", 2), ("edges-4", 4))),
        *(Deployment(f"held-{edges}", edges, holds_feed=True) for edges in (1, 2, 4)),
    )
}
