"""From a file to `Settings`: reading, validating, what depends on several sections, warnings.

Left to others: the text (`hocon`), the values (`models`), links changed by API (`overlay`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.mqtt.topics import covers
from isthmus_broker.settings import hocon, overlay
from isthmus_broker.settings.mistakes import Loc, at, in_order, validate
from isthmus_broker.settings.models import (
    CertificateAuthentication,
    LinkSettings,
    PasswordAuthentication,
    Settings,
    TcpListener,
)
from isthmus_broker.settings.tree import Node
from isthmus_broker.settings.values import Bind, Context

DEFAULT_PORT: Final = 1883


def load(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Read the configuration; without a path, the default one.

    Raises:
        ConfigurationError: with every mistake, each with its key and, where known, its line.

    """
    if path is None:
        return _finished(Settings(), Node({}, "", 1), [])
    document = hocon.load(path, env)
    context = Context(path.absolute().parent, list(document.files))
    warnings = [
        f"{file}:{line}  include: {missing} does not exist"
        for missing, file, line in document.missing
    ]
    warnings += _merge_overlay(path, document.root, context)
    settings = validate(Settings, document.root.plain(), context, document.root)
    settings._path = path  # noqa: SLF001 - what load knows, and the text does not say
    settings._files = tuple(context.files)  # noqa: SLF001
    settings._source_hash = hashlib.sha256(path.read_bytes()).hexdigest()  # noqa: SLF001
    settings._raw_links = _raw_links(document.root)  # noqa: SLF001
    return _finished(settings, document.root, warnings)


def parse_link(body: object, directory: Path) -> LinkSettings:
    """Validate one link that came by the admin API.

    Raises:
        ConfigurationError: with every mistake, keys as in the body.

    """
    return validate(LinkSettings, body, Context(directory.absolute()))


def _merge_overlay(path: Path, root: Node, context: Context) -> list[str]:
    data_dir = root.find(("node", "data_dir")).value
    directory = path.parent / data_dir if isinstance(data_dir, str) else None
    kept = overlay.overlay_path(path, directory)
    changes = None if kept is None else overlay.read(kept)
    if kept is None or changes is None:
        return []
    context.files.append(kept)
    return [
        f'{kept}  cluster.links: "{name}" is as the admin API has left it, not as {path} says'
        for name in overlay.merge(root, changes)
    ]


def _raw_links(root: Node) -> dict[str, dict[str, Any]]:
    links = root.find(("cluster", "links")).value
    raw: dict[str, dict[str, Any]] = {}
    for link in links if isinstance(links, list) else []:
        plain = link.plain()
        if isinstance(plain, dict):
            raw[overlay.link_name(link)] = plain
    return raw


def _finished(settings: Settings, root: Node, warnings: list[str]) -> Settings:
    mistakes = [at(root, loc, message) for loc, message in _contradictions(settings)]
    if mistakes:
        raise ConfigurationError(in_order(mistakes))
    result, opened = _with_default_listener(settings)
    if opened is not None:
        warnings = [*warnings, opened]
    told = (str(at(root, loc, message)) for loc, message in _doubts(result))
    result._warnings = (*warnings, *told)  # noqa: SLF001
    return result


# --- What depends on several sections -----------------------------------------------------------


def _with_default_listener(settings: Settings) -> tuple[Settings, str | None]:
    """1883 opens unless a listener is named `default`: to all where it is guarded or meant so."""
    listeners = settings.listeners
    named = {name.partition(":")[2] for name in listeners.all()}
    ports = {listener.bind.port for listener in listeners.enabled().values()}
    if "default" in named or DEFAULT_PORT in ports:
        return settings, None
    public = settings.mqtt.allow_anonymous is True or not settings.anonymous
    bind = Bind("0.0.0.0" if public else "127.0.0.1", DEFAULT_PORT)  # noqa: S104
    tcp = {**listeners.tcp, "default": TcpListener(bind=bind)}
    changed = listeners.model_copy(update={"tcp": tcp})
    result = settings.model_copy(update={"listeners": changed})
    if public:
        return result, None
    return result, (
        f"no authentication: port {DEFAULT_PORT} opens on 127.0.0.1 only; set authentication, "
        "mqtt.allow_anonymous = true or listeners.tcp.default.bind to open it to others"
    )


def _contradictions(settings: Settings) -> Iterator[tuple[Loc, str]]:
    yield from _wrong_links(settings)
    opened: list[tuple[Loc, Bind, str]] = [
        (("listeners", *name.split(":", 1), "bind"), it.bind, f"listeners.{name}")
        for name, it in settings.listeners.enabled().items()
    ]
    if settings.api.enable:
        opened.append((("api", "bind"), settings.api.bind, "api"))
    for number, (loc, bind, _) in enumerate(opened):
        for _, other, name in opened[:number]:
            if bind.port and bind.port == other.port and _overlap(bind, other):
                yield loc, f"{bind} is taken by {name.replace(':', '.')} already"
                break


def _overlap(bind: Bind, other: Bind) -> bool:
    return bind.host == other.host or bind.is_everywhere or other.is_everywhere


def _wrong_links(settings: Settings) -> Iterator[tuple[Loc, str]]:
    seen: set[str] = set()
    passwords = any(isinstance(method, PasswordAuthentication) for method in _methods(settings))
    for number, link in enumerate(settings.cluster.links):
        loc: Loc = ("cluster", "links", number)
        if link.name == settings.cluster.name:
            yield (*loc, "name"), f'"{link.name}" is this cluster itself'
        if link.name in seen:
            yield (*loc, "name"), f'"{link.name}" has another link already'
        seen.add(link.name)
        if link.accept.usernames and not passwords and settings.mqtt.allow_anonymous is not False:
            yield (
                (*loc, "accept", "usernames"),
                "nobody proves a user name here: expected authentication by password",
            )


def _methods(settings: Settings) -> list[PasswordAuthentication | CertificateAuthentication]:
    return [method for method in settings.authentication if method.enable]


def _doubts(settings: Settings) -> Iterator[tuple[Loc, str]]:
    """What is no mistake, but probably not what was meant."""
    links = settings.cluster.links
    if links and settings.cluster.name == type(settings.cluster)().name:
        yield ("cluster", "name"), "not set: other clusters know this one by this very name"
    for number, link in enumerate(links):
        yield from _covered(number, link)
    if not settings.anonymous and not _methods(settings):
        yield ("mqtt", "allow_anonymous"), "no client can come in: there is no authentication"
    if any(isinstance(method, CertificateAuthentication) for method in _methods(settings)):
        secured = (*settings.listeners.ssl.values(), *settings.listeners.wss.values())
        if not any(it.enable and it.ssl_options.verify == "verify_peer" for it in secured):
            yield ("authentication",), "no listener asks for certificates (verify = verify_peer)"
    yield from _open_to_all(settings)


def _covered(number: int, link: LinkSettings) -> Iterator[tuple[Loc, str]]:
    for index, topic in enumerate(link.topics):
        for other, wider in enumerate(link.topics):
            same = wider == topic
            if index == other or (same and index < other):
                continue
            if covers(wider.encode(), topic.encode()):
                loc: Loc = ("cluster", "links", number, "topics", index)
                yield loc, f'"{topic}" is covered by "{wider}"'
                break


def _open_to_all(settings: Settings) -> Iterator[tuple[Loc, str]]:
    if not settings.anonymous or settings.mqtt.allow_anonymous:
        return
    trusting = [link.name for link in settings.cluster.links if not link.is_guarded]
    for name, listener in settings.listeners.enabled().items():
        options = getattr(listener, "ssl_options", None)
        if listener.bind.is_loopback or (options and options.fail_if_no_peer_cert):
            continue
        speak = f", also to speak for {' and '.join(trusting)}" if trusting else ""
        yield (
            ("listeners", *name.split(":", 1)),
            f"whoever reaches {listener.bind} is let in without credentials{speak}",
        )
