"""The operator's own settings, from its environment; `isthmus-operator run --help` lists them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from isthmus_operator import __version__
from isthmus_operator.errors import OperatorError

_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LEVELS: Final = ("debug", "info", "warning", "error")


class SettingsError(OperatorError):
    """A variable can't be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to look after; empty: all."""
    broker_image: str = f"isthmus-broker:{__version__}"
    lease_namespace: str = ""
    """Where the Lease is; empty: no other operator is to be expected."""
    lease_name: str = "isthmus-operator"
    identity: str = ""
    log_level: str = "info"
    log_format: Literal["json", "text"] = "json"
    health_port: int = 8080
    """0: nothing is served."""
    kubeconfig: Path | None = None
    """Not set: from within a pod."""
    api: tuple[str, str] = ("", "")
    """Host and port of the API server, within a pod."""


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: naming the variable, what it is, and what was expected.
    """
    get = environment.get
    port = get("ISTHMUS_HEALTH_PORT", "8080")
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise SettingsError(f"ISTHMUS_HEALTH_PORT is {port!r}: expected a port, or 0 for none")
    level = get("ISTHMUS_LOG_LEVEL", "info")
    if level not in LEVELS:
        raise SettingsError(f"ISTHMUS_LOG_LEVEL is {level!r}: expected one of {', '.join(LEVELS)}")
    form = get("ISTHMUS_LOG_FORMAT", "json")
    if form not in ("json", "text"):
        raise SettingsError(f"ISTHMUS_LOG_FORMAT is {form!r}: expected json or text")
    kubeconfig = get("KUBECONFIG", "")
    return Settings(
        namespaces=_namespaces(get("ISTHMUS_NAMESPACES", "")),
        broker_image=get("ISTHMUS_BROKER_IMAGE", "") or f"isthmus-broker:{__version__}",
        lease_namespace=get("ISTHMUS_LEASE_NAMESPACE", ""),
        lease_name=get("ISTHMUS_LEASE_NAME", "") or "isthmus-operator",
        identity=get("ISTHMUS_POD_NAME", "") or f"{socket.gethostname()}-{os.getpid()}",
        log_level=level,
        log_format="json" if form == "json" else "text",
        health_port=int(port),
        kubeconfig=Path(kubeconfig).expanduser() if kubeconfig else None,
        api=(get("KUBERNETES_SERVICE_HOST", ""), get("KUBERNETES_SERVICE_PORT", "443")),
    )


def _namespaces(value: str) -> tuple[str, ...]:
    found = [name.strip() for name in value.split(",") if name.strip()]
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            raise SettingsError(
                f"ISTHMUS_NAMESPACES has {name!r}: expected names of namespaces, with commas"
                " between them"
            )
    return tuple(dict.fromkeys(found))
