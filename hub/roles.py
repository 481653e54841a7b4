"""Which settings are for which roles, where that is not all of them.

Who gives an option that can have no effect is told so. Of the file and the environment nothing is said: all processes
of a deployment may share them.
"""

from typing import Final

from hub.settings import Settings

_OF_A_SOURCE: Final = (
    *("source", "symbols", "interval", "seed", "speed", "sim_start", "faults", "recording", "record"),
    *("max_subscriptions", "subscription_grace_s", "feed_buffer_bytes"),
    *(name for name in Settings.model_fields if name.startswith("xtquant_")),
)
_OF_A_HISTORY: Final = ("journal", "journal_fsync_s", "journal_days", "journal_bytes", "feed_token_file")

_ROLES: Final = {
    **dict.fromkeys(_OF_A_SOURCE, ("all", "feed", "feeder")),
    **dict.fromkeys(_OF_A_HISTORY, ("all", "feed")),
    **dict.fromkeys(("relay_name", "relay_shards"), ("feed", "edge")),
    **dict.fromkeys(("relay_rows", "relay_lease_s"), ("feed",)),
    **dict.fromkeys(("warm_rows", "edge_topics"), ("edge",)),
}


def roles_with(setting: str, role: str) -> str:
    """The roles that a setting is for, in words; empty where ``role`` is one of them."""
    roles = _ROLES.get(setting, (role,))
    return "" if role in roles else " and ".join((", ".join(roles[:-1]), roles[-1]) if roles[1:] else roles)
