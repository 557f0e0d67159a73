"""Files of a broker that are secret: keys, certificates, users, passwords; and the hand-out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus_operator.pki import Pair, bundle
from isthmus_operator.render.entries import LinkEntry


@dataclass(frozen=True, slots=True)
class Material:
    """What a broker has to be given, beyond its links."""

    api_key: str
    server: Pair
    """Of the link listener."""
    client_authorities: bytes
    """Certificates of who signs the client certificates of links."""
    users: str = ""
    """The user's own file of users."""
    listeners: Mapping[str, Pair] = field(default_factory=dict)
    """Of the listeners `mqtts` and `wss`."""

    def __repr__(self) -> str:
        return "Material(...)"  # stays out of logs


def files(material: Material, links: Sequence[LinkEntry]) -> dict[str, bytes]:
    """The files by name, as the configuration names them."""
    found = {
        "api-key": material.api_key.encode(),
        "users": _users(material.users, links),
        "server.crt": material.server.certificate,
        "server.key": material.server.key,
        "client-ca.crt": material.client_authorities,
    }
    for name, pair in material.listeners.items():
        found[f"{name}.crt"], found[f"{name}.key"] = pair.certificate, pair.key
    for link in links:
        found |= _of_link(link)
    return found


def encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """As `data` of a Secret."""
    return {name: base64.b64encode(content).decode() for name, content in sorted(files.items())}


def decoded(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """The `data` of a Secret."""
    return {name: base64.b64decode(text) for name, text in (secret.get("data") or {}).items()}


def _users(users: str, links: Sequence[LinkEntry]) -> bytes:
    """The user's lines and those of links; the latter win where a name is used twice."""
    ours = [line for link in links for line in link.users]
    taken = {line.rpartition(":")[0] for line in ours}
    theirs = [line for line in users.splitlines() if line.strip().rpartition(":")[0] not in taken]
    return "".join(f"{line}\n" for line in (*theirs, *ours)).encode()


def _of_link(link: LinkEntry) -> dict[str, bytes]:
    found = {
        ".ca": bundle(link.peer.authority) if link.peer.tls else b"",
        ".crt": link.own.certificate if link.peer.tls else b"",
        ".key": link.own.key if link.peer.tls else b"",
        ".password": link.own.password.encode(),
    }
    return {f"{link.file}{ending}": content for ending, content in found.items() if content}
