"""What is wrong although rows come: why a source is degraded and not simply connected."""

import logging

_logger = logging.getLogger("argus.xtquant")


class Troubles:
    """Reasons in words, by what they are about."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def __str__(self) -> str:
        return "; ".join(self._reasons.values())

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def have(self, about: str, reason: str) -> None:
        """Something is wrong. It is logged when it is news."""
        if self._reasons.get(about) != reason:
            self._reasons[about] = reason
            _logger.warning("%s", reason)

    def clear(self, about: str) -> bool:
        """It is not wrong any more. Returns whether it was."""
        return self._reasons.pop(about, None) is not None
