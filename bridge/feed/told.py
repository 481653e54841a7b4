"""What a source tells beside its rows, on its way from a feeder to its hub: from the words of sources, and back."""

from typing import TypeVar

import msgspec

from bridge.feed.messages import Counts, Reference, Refused
from bridge.source import Figures, ReferenceData, Refusals, Told
from hub.core import Refusal

M = TypeVar("M", bound=msgspec.Struct)


def message_of(told: Told | M) -> Reference | Refused | Counts | M:
    """What a feeder says for it; a message is one already."""
    match told:
        case ReferenceData(instruments, universes):
            return Reference([dict(one) for one in instruments], {name: list(universes[name]) for name in universes})
        case Refusals(topics):
            return Refused({topic: (refusal.code, refusal.reason) for topic, refusal in topics.items()})
        case Figures(counts):
            return Counts(dict(counts))
    return told


def told_of(message: Reference | Refused | Counts) -> Told:
    """What a source would have told."""
    match message:
        case Reference(instruments, universes):
            return ReferenceData(instruments, universes)
        case Refused(topics):
            return Refusals({topic: Refusal(code, reason) for topic, (code, reason) in topics.items()})
        case Counts(counts):
            return Figures(counts)
