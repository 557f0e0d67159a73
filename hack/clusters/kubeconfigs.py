"""Kubeconfig files: an address, the cluster's CA, and who one is."""

from __future__ import annotations

import base64
from pathlib import Path

from clusters.certificates import Identity


def with_certificate(name: str, server: str, ca: Path, identity: Identity) -> str:
    """Text of a kubeconfig for one who has a client certificate."""
    user = (
        f"client-certificate-data: {_data(identity.certificate)}\n"
        f"      client-key-data: {_data(identity.key)}"
    )
    return _text(name, server, ca, user)


def with_token(name: str, server: str, ca: Path, token: str) -> str:
    """Text of a kubeconfig for one who has a token."""
    return _text(name, server, ca, f"token: {token}")


def write(path: Path, text: str) -> None:
    """Write a kubeconfig that only its owner may read."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _text(name: str, server: str, ca: Path, user: str) -> str:
    quoted = f'"{name}"'  # YAML takes a bare `y` for yes
    return f"""\
apiVersion: v1
kind: Config
clusters:
  - name: {quoted}
    cluster:
      server: {server}
      certificate-authority-data: {_data(ca)}
users:
  - name: {quoted}
    user:
      {user}
contexts:
  - name: {quoted}
    context: {{cluster: {quoted}, user: {quoted}}}
current-context: {quoted}
"""
