"""Makes the source that the settings name."""

from datetime import date, time

from bridge.listening import StartError
from bridge.recording import RecordingSource
from bridge.simulator import Fault, SimulatorSource
from bridge.source import Source
from bridge.xtquant import Options, XtquantSource
from bridge.xtquant.options import TokenMode
from bridge.xtquant.package import PackageError, find_package
from hub.settings import Settings


def make_source(settings: Settings, place: tuple[date, time] | None = None) -> Source:
    """Build the source that the settings name. Raises StartError or RecordingError.

    ``place``: where a simulated market starts instead of at its first day and the time of the settings.
    """
    if settings.source == "recording" and settings.recording is not None:
        return RecordingSource(settings.recording, speed=settings.speed)
    if settings.source == "xtquant":
        try:
            find_package(settings.xtquant_folder)
        except PackageError as error:
            raise StartError(f"source xtquant can't run here: {error}") from None
        return XtquantSource(xtquant_options(settings))
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


def xtquant_options(settings: Settings) -> Options:
    """What the settings say of the terminal."""
    data = settings.data / "xtquant"
    token = settings.quote_token
    return Options(
        sectors=settings.xtquant_sectors,
        data=data,
        universes=settings.xtquant_universes,
        folder=settings.xtquant_folder,
        addresses=settings.xtquant_addresses,
        token_mode=TokenMode(token, data / "centre", settings.xtquant_servers, settings.xtquant_markets)
        if token
        else None,
        max_subscriptions=settings.max_subscriptions,
        grace_s=settings.subscription_grace_s,
        stale_after_s=settings.xtquant_stale_after_s,
        refresh_at=settings.xtquant_refresh_at,
        probe_at=settings.xtquant_probe_at,
    )
