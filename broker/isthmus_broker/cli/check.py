"""`isthmus-broker check`: everything that can be found wrong before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus_broker.auth.verify import load_users
from isthmus_broker.errors import ConfigurationError
from isthmus_broker.net import tls
from isthmus_broker.settings import Settings, load


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file."""

    mistakes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    summary: str = ""


def check_file(path: Path, env: Mapping[str, str]) -> Report:
    """Load a configuration, the password files and certificates that it names."""
    try:
        settings = load(path, env)
    except ConfigurationError as error:
        return Report(mistakes=tuple(map(str, error.mistakes)))
    mistakes: list[str] = []
    for part in (load_users, tls.check):
        try:
            part(settings)
        except ConfigurationError as error:
            mistakes += map(str, error.mistakes)
    warnings = (it if it.startswith(str(path)) else f"{path}  {it}" for it in settings.warnings)
    return Report(tuple(mistakes), tuple(warnings), _summary(settings))


def _summary(settings: Settings) -> str:
    links = ", ".join(
        f"{link.name} at {link.server}{'' if link.enable else ' (off)'}"
        for link in settings.cluster.links
    )
    listeners = ", ".join(
        f"{name} on {listener.bind}" for name, listener in settings.listeners.enabled().items()
    )
    return (
        f"no mistakes; cluster {settings.cluster.name}, "
        f"links: {links or 'none'}, listeners: {listeners or 'none'}"
    )
