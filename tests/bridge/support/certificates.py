"""Certificates for servers and clients on loopback, of a CA that nobody else trusts."""

from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

HOST: Final = "127.0.0.1"


class Certificates:
    """PEM files in a folder, by what they are for.

    ``ca`` signed ``server``, which is for `HOST`, ``client`` and ``misnamed``, which is for another host;
    ``other_ca`` signed none of them. All but the CAs' have their keys in the same file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ca, other = trustme.CA(), trustme.CA()
        self.ca, self.other_ca = str(folder / "ca.pem"), str(folder / "other-ca.pem")
        ca.cert_pem.write_to_path(self.ca)
        other.cert_pem.write_to_path(self.other_ca)
        self._client = ca.issue_cert("edge@example.org")
        self.client = self._write(folder / "client.pem", self._client)
        self.server = self._write(folder / "server.pem", ca.issue_cert(HOST))
        self.misnamed = self._write(folder / "misnamed.pem", ca.issue_cert("elsewhere.example"))

    @staticmethod
    def _write(file: Path, leaf: trustme.LeafCert) -> str:
        leaf.private_key_and_cert_chain_pem.write_to_path(str(file))
        return str(file)

    def locked_key(self, password: bytes) -> bytes:
        """The client's key, with a password."""
        key = load_pem_private_key(self._client.private_key_pem.bytes(), None)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
