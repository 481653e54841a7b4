"""What is wrong between this process and Redis, in words for the user, who can do something about it."""

import os
import ssl
from collections.abc import Iterator
from typing import Final

from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What a call to Redis may raise. What is wrong with a Cluster as a whole is no `RedisError` to the library."""


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
    if isinstance(error, RedisClusterException):
        return _of_a_cluster(error)
    return f"{type(error).__name__}: {error}"


def _of_a_cluster(error: RedisClusterException) -> str:
    """The library tells by nothing but the text what is wrong."""
    text = str(error)
    if "mode is not enabled" in text:
        return "it is no Cluster (redis://HOST is the address of one server)"
    if "cannot be connected" in text:
        return f"no node of the Cluster can be reached ({_of_the_system(error) or error.__cause__ or error})"
    return f"the Cluster is not whole: {text}"


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
