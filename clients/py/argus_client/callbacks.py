"""What a user wants to be told beside rows, and how it is told."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

from argus_client.errors import CallbackError, ConnectionLost, HubError
from argus_client.messages import Draining, Gap, Heartbeat, Slow

_NoticeT = TypeVar("_NoticeT")


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The hub is back: after ``attempts`` to connect and ``away_s`` seconds without it.

    ``same_history`` is false where the hub has begun a new epoch: then gaps with the cause ``epoch`` follow.
    """

    attempts: int
    away_s: float
    same_history: bool


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Plain functions that are called in stream order, on the event loop, before the next message is read."""

    on_gap: Callable[[Gap], object] | None = None
    on_refused: Callable[[HubError], object] | None = None
    on_slow: Callable[[Slow], object] | None = None
    on_heartbeat: Callable[[Heartbeat], object] | None = None
    on_draining: Callable[[Draining], object] | None = None
    on_disconnect: Callable[[ConnectionLost], object] | None = None
    on_reconnect: Callable[[Reconnected], object] | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            if inspect.iscoroutinefunction(getattr(self, one.name)):
                raise TypeError(f"{one.name} must be a plain function: nothing would await its coroutine")


def tell(callback: Callable[[_NoticeT], object] | None, notice: _NoticeT) -> None:
    """Call a callback, if there is one. Raises CallbackError where it raises."""
    if callback is None:
        return
    try:
        callback(notice)
    except Exception as error:
        raise CallbackError(f"the callback for {type(notice).__name__} raised {error!r}") from error
