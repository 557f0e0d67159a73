"""How an API server is reached, and who one is there: from a kubeconfig, or from within a pod.

A kubeconfig that a user has put into a Secret is read strictly: it must hold all that it needs.
Programs and files that it names would be the operator's own, so it may name none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from isthmus_operator.errors import ResourceError

_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HINT: Final = "see docs/operator.md for one that is made for a ServiceAccount"


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

    def __repr__(self) -> str:
        return f"Access({self.server})"

    @property
    def digest(self) -> str:
        """Tells two apart; tells nothing of what is in it."""
        parts = [self.server, self.ca, self.token, self.server_name, str(self.token_file)]
        text = "\0".join(parts).encode() + self.certificate + self.key
        return hashlib.sha256(text).hexdigest()

    def bearer(self) -> str:
        """The token of now; empty where there is none."""
        if self.token_file is None:
            return self.token
        return self.token_file.read_text().strip()


def of_secret(content: bytes) -> Access:
    """From a kubeconfig that a user has put into a Secret.

    Raises:
        ResourceError: it is none, or names programs or files.
    """
    return _parsed(content, None)


def of_file(path: Path) -> Access:
    """From a kubeconfig on this machine, which may name files.

    Raises:
        ResourceError: it is none.
        OSError: it can't be read.
    """
    return _parsed(path.read_bytes(), path.parent)


def of_pod(host: str, port: str) -> Access:
    """From within a pod.

    Raises:
        OSError: there is no service account's token.
    """
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, (_POD / "ca.crt").read_text(), token_file=_POD / "token")


def _parsed(content: bytes, folder: Path | None) -> Access:
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise _invalid("it is no YAML") from error
    if not isinstance(document, Mapping):
        raise _invalid("it is no YAML mapping")
    wanted = document.get("current-context")
    contexts = document.get("contexts")
    context = _named(contexts, wanted, "context") if wanted else _first(contexts, "context")
    cluster = _named(document.get("clusters"), context.get("cluster"), "cluster")
    user = _named(document.get("users"), context.get("user"), "user")
    for key in ("exec", "auth-provider"):
        if key in user:
            raise _invalid(f"its user has {key}, which the operator does not run; use a token")
    server = str(cluster.get("server", ""))
    if not server.startswith("https://"):
        raise _invalid(f"its server is {server or 'missing'!r}, expected https://HOST:PORT")
    return Access(
        server.rstrip("/"),
        _content(cluster, "certificate-authority", folder).decode(),
        str(user.get("token", "")) or _content(user, "token", folder, "tokenFile").decode().strip(),
        certificate=_content(user, "client-certificate", folder),
        key=_content(user, "client-key", folder),
        server_name=str(cluster.get("tls-server-name", "")),
    )


def _content(entry: Mapping[str, Any], key: str, folder: Path | None, file_key: str = "") -> bytes:
    data = entry.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise _invalid(f"its {key}-data is not base64") from error
    name = entry.get(file_key or key)
    if not name:
        return b""
    if folder is None:
        raise _invalid(f"its {file_key or key} names a file; use {key}-data")
    return (folder / str(name)).read_bytes()


def _named(entries: Any, name: Any, what: str) -> Mapping[str, Any]:
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and entry.get("name") == name:
            found = entry.get(what)
            if isinstance(found, Mapping):
                return found
    raise _invalid(f"it has no {what} {name!r}")


def _first(entries: Any, what: str) -> Mapping[str, Any]:
    if isinstance(entries, list) and entries and isinstance(entries[0], Mapping):
        return _named(entries, entries[0].get("name"), what)
    raise _invalid(f"it has no {what}")


def _invalid(what: str) -> ResourceError:
    return ResourceError("KubeconfigInvalid", f"the kubeconfig can't be used: {what}; {_HINT}")
