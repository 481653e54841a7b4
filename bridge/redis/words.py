"""What is wrong between this process and Redis, in words for the user, who can do something about it."""

import ssl
from collections.abc import Iterator

from redis.exceptions import AuthenticationError, NoPermissionError
from redis.exceptions import TimeoutError as RedisTimeoutError


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
    return f"{type(error).__name__}: {error}"


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
