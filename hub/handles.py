"""How many clients the system lets one process have: every connection is an open file, and the usual limit is 1,024."""

import sys
from typing import Final

OTHER_FILES: Final = 512
"""What the hub opens besides: its journal and recording, pages that are being read, connections in their handshake."""


def room_for(clients: int) -> int:
    """Raise the limit of open files as far as so many clients need it. Returns how many fit, no more than asked for."""
    if sys.platform != "win32":  # where sockets are no files
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = clients + OTHER_FILES
        if soft != resource.RLIM_INFINITY and soft < needed:
            raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            except (OSError, ValueError):  # macOS has a further limit, below the one that it tells
                raised = soft
            clients = max(1, min(clients, raised - OTHER_FILES))
    return clients
