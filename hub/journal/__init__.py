"""The journal: the trading day on disk, so that history outlives the process and the ring.

``open_journal`` is where to begin; docs/journal.md tells how it works, what it promises and what it costs.
"""

from hub.journal.cutting import cut_journal
from hub.journal.disk import JournalError, JournalInUseError
from hub.journal.encoder import Entry, RunBegins, Stretch
from hub.journal.journal import Journal
from hub.journal.opening import Adopted, Restored, open_journal
from hub.journal.proof import abandon_journal
from hub.journal.settings import JournalSettings
from hub.journal.single import Single

__all__ = [
    "Adopted",
    "Entry",
    "Journal",
    "JournalError",
    "JournalInUseError",
    "JournalSettings",
    "Restored",
    "RunBegins",
    "Single",
    "Stretch",
    "abandon_journal",
    "cut_journal",
    "open_journal",
]
