"""What the address of a Redis deployment says of TLS: each part of its query names a PEM file, as in redis-py's URLs.

The server's certificate is always verified: by the system's CAs, or by those of ``ssl_ca_certs``. ``ssl_certfile`` and
``ssl_keyfile`` are for a server that wants to know its clients by certificates, as Redis does unless told otherwise.
"""

import ssl
from typing import Final
from urllib.parse import unquote

NAMES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def read_files(query: str, *, tls: bool) -> tuple[tuple[str, str], ...]:
    """The files that a query names, by `NAMES`.

    Raises ValueError, with words for the user, where it says anything else, or a file is none of its kind.
    """
    pairs = [(name, unquote(file)) for name, _, file in (part.partition("=") for part in query.split("&") if part)]
    files = dict(pairs)
    if not files.keys() <= set(NAMES) or len(files) < len(pairs) or "" in files.values() or (files and not tls):
        names = ", ".join(f"{name}=FILE" for name in NAMES)
        raise ValueError(f"should be a Redis address: over TLS {names} may stand behind a ?, and nothing else")
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise ValueError("names ssl_keyfile, but not the certificate that it is the key of: ssl_certfile")
    for name, file in pairs:
        try:
            _try(name, file, files)
        except (OSError, ValueError) as error:
            reason = error.strerror if type(error) is not ssl.SSLError and isinstance(error, OSError) else str(error)
            raise ValueError(f"names a file that can't be used: {name}={file}: {reason}") from None
    return tuple(pairs)


def _try(name: str, file: str, files: dict[str, str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if name == "ssl_ca_certs":
        context.load_verify_locations(file)
    elif name == "ssl_certfile":
        context.load_cert_chain(file, files.get("ssl_keyfile"), password=_no_password)


def _no_password() -> str:
    raise ValueError("the key has a password, and there is nobody to ask for it")
