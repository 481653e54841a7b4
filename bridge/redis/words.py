"""What is wrong between this process and Redis, in words for the user, who can do something about it."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from bridge.relay.boundary import RelayAway

FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What a call to Redis may raise. What is wrong with a Cluster as a whole is no `RedisError` to the library."""

_CLOSED: Final = "the handler is closed"
"""So uvloop says that a connection was lost which is being written to, where asyncio itself passes over it."""

_A_NODE: Final = "it is a node of a Cluster (redis+cluster://HOST,... is the address of one)"


@contextmanager
def away() -> Iterator[None]:
    """Within the block, what a call to Redis may raise is raised as RelayAway."""
    try:
        yield
    except FAILURES as error:
        raise RelayAway(explain(error)) from None
    except RuntimeError as error:
        if _CLOSED not in str(error):
            raise
        raise RelayAway("the connection was lost") from None


def explain(error: BaseException) -> str:
    """Say what an error means. No password is in it."""
    for one in _with_causes(error):
        match one:
            case ssl.SSLCertVerificationError():
                return (
                    f"its certificate is not trusted ({one.verify_message}): name the CA that signed it "
                    "(rediss://...?ssl_ca_certs=FILE), and the host as the certificate does"
                )
            case ssl.SSLError() if "CERTIFICATE_REQUIRED" in (one.reason or ""):
                return "it wants to see a certificate of this client (rediss://...?ssl_certfile=FILE)"
            case AuthenticationError():
                return "it does not know this user or password, or wants one (redis://USER:PASSWORD@HOST)"
            case TimeoutError() | RedisTimeoutError():
                return f"it does not answer in time{f' ({one})' if str(one) else ''}"
            case NoPermissionError():
                return f"its user may not do all that the relay needs (see docs/scaling.md): {one}"
    match error:
        case RedisClusterException():
            return _of_a_cluster(error)
        case MasterNotFoundError():
            return _of_sentinels(error)
        case MovedError():
            return _A_NODE
        case ResponseError() if "SELECT is not allowed in cluster mode" in str(error):
            return _A_NODE
        case ResponseError() if "unknown command 'SENTINEL'" in str(error):
            return "it is no sentinel (redis://HOST is the address of a server without any)"
        case ResponseError() if "DB index is out of range" in str(error):
            return "it has no database of that number (redis://HOST/DB; `databases` in redis.conf says how many it has)"
    return f"{type(error).__name__}: {error}"


def _of_a_cluster(error: RedisClusterException) -> str:
    """The library tells by nothing but the text what is wrong."""
    text = str(error)
    if "mode is not enabled" in text:
        return "it is no Cluster (redis://HOST is the address of one server)"
    if "cannot be connected" in text:
        return f"no node of the Cluster can be reached ({_of_the_system(error) or error.__cause__ or error})"
    return f"the Cluster is not whole: {text}"


def _of_sentinels(error: MasterNotFoundError) -> str:
    """The library has the service and, behind a colon, what each sentinel that is not there said."""
    found, _, missing = str(error).partition(" : ")
    service = found.removeprefix("No master found for ")
    if not missing:
        return f"the sentinels know no master {service} that is up (redis+sentinel://HOST,.../SERVICE)"
    return f"no sentinel can be reached that knows a master {service} (redis+sentinel://HOST,.../SERVICE)"


def _of_the_system(error: BaseException) -> str:
    """What the operating system said, without the node that was tried last: which one that is changes each time."""
    for one in _with_causes(error):
        if isinstance(one, OSError) and one.errno is not None:
            return os.strerror(one.errno) if one.errno > 0 else str(one.strerror)  # below 0: of looking a name up
    return ""


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
