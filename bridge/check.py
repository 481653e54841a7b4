"""What one check of the doctor found: a name, whether all is well, and what it saw or what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One line of ``hub doctor``. ``text``: what was found where ``ok``, else what to do."""

    name: str
    ok: bool
    text: str
