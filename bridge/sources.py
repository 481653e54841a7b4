"""Makes the source that the settings name."""

from datetime import date, time

from bridge.listening import StartError
from bridge.recording import RecordingSource
from bridge.simulator import Fault, SimulatorSource
from bridge.source import Source
from hub.settings import Settings


def make_source(settings: Settings, place: tuple[date, time] | None = None) -> Source:
    """Build the source that the settings name. Raises StartError or RecordingError.

    ``place``: where a simulated market starts instead of at its first day and the time of the settings.
    """
    if settings.source == "recording" and settings.recording is not None:
        return RecordingSource(settings.recording, speed=settings.speed)
    if settings.source == "xtquant":
        raise StartError("source xtquant is not available in this version; use sim or recording")
    try:
        return SimulatorSource(
            symbols=settings.symbols,
            interval_s=settings.interval,
            seed=settings.seed,
            speed=settings.speed,
            faults=[Fault.parse(text) for text in settings.faults],
            **({"start": settings.sim_start} if place is None else {"day": place[0], "start": place[1]}),
        )
    except ValueError as error:
        raise StartError(f"the simulator can't run so: {error}") from None
