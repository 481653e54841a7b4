"""Whether what a feeder brings goes on in the history that a hub already has."""

from dataclasses import dataclass

from bridge.feed.messages import Hello


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a history was fed by so far. ``run`` is empty while it was fed by nobody."""

    source: str
    simulated: bool
    run: str

    def admits(self, hello: Hello) -> bool:
        """Whether this feeder may add to the history.

        Invented prices and real ones, or two sources, never share one; neither do two plays of one recording.
        """
        if not self.run:
            return True
        if (hello.source, hello.simulated) != (self.source, self.simulated):
            return False
        return hello.continues or hello.run == self.run
