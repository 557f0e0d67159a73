"""How an API server is reached, and who one is there; from within a pod.

How that is read from a kubeconfig is left to `kubeconfig`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from isthmus_operator.errors import Unauthorized

_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """An API server, and the credentials for it."""

    server: str
    ca: str = ""
    """PEM; empty: the system's authorities."""
    token: str = ""
    token_file: Path | None = None
    """Read again and again: the kubelet renews it."""
    certificate: bytes = b""
    key: bytes = b""
    server_name: str = ""
    """In its certificate; empty: the host of `server`."""
    verify: bool = True
    proxy: str = ""
    basic: str = ""
    """What follows `Basic` in the header; a token goes before it."""

    def __repr__(self) -> str:
        return f"Access({self.server})"

    @property
    def digest(self) -> str:
        """Tells two apart; tells nothing of what is in it."""
        parts = [self.server, self.ca, self.token, self.server_name, str(self.token_file)]
        parts += [str(self.verify), self.proxy, self.basic]
        text = "\0".join(parts).encode() + self.certificate + self.key
        return hashlib.sha256(text).hexdigest()

    def bearer(self) -> str:
        """The token of now; empty where there is none.

        Raises:
            Unauthorized: its file can't be read.
        """
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text().strip()
        except OSError as error:
            message = f"expected a token in {self.token_file}: {error.strerror}"
            raise Unauthorized(message) from error


def of_pod(host: str, port: str) -> Access:
    """From within a pod.

    Raises:
        OSError: there is no service account's token.
    """
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, (_POD / "ca.crt").read_text(), token_file=_POD / "token")
