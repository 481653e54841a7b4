"""Where a hub listens and how it treats its clients, from the settings; and whether the port can be had at all."""

import asyncio
import socket
import sys
from importlib.metadata import version

from hub.auth import Token
from hub.limits import Limits
from hub.server import ServerSettings
from hub.settings import Settings


class StartError(Exception):
    """Something outside prevents the start; the text tells what, and what to do."""


async def check_port(settings: Settings) -> None:
    """Find out whether the port is free, before anything is begun that a failed start would leave behind.

    Raises:
        StartError: it is not, or the host is none of this machine's.
    """
    host, port = settings.host, settings.port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                if sys.platform != "win32":  # where it would let two listen on one port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # as the event loop listens: version 4 is another address
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen()
    except OSError as error:
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def server_settings(settings: Settings) -> ServerSettings:
    """How the server treats its clients."""
    return ServerSettings(
        name=f"argus-hub/{version('argus-hub')}",
        limits=Limits(
            message_bytes=settings.max_message_bytes,
            topics=settings.max_topics,
            requests_per_s=settings.max_requests_per_s,
            pending_bytes=settings.max_pending_bytes,
        ),
        token=Token(settings.access_token) if settings.access_token else None,
        allowed_origins=frozenset(settings.allowed_origins),
        max_clients=settings.max_clients,
        heartbeat_s=settings.heartbeat_s,
        stall_s=settings.stall_s,
        auth_timeout_s=settings.auth_timeout_s,
        ping_interval_s=settings.ping_interval_s,
        ping_timeout_s=settings.ping_timeout_s,
        compression=settings.compression,
    )
