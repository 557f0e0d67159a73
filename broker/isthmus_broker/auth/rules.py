"""Authorisation: who may publish to, or subscribe to, what. Pure; compiled once per configuration.

Rules stand in an order and the first that fits decides:

- A rule fits a client when everything it names of a client (user name, client id, address) fits.
- For publishing it fits a topic when one of its filters matches the name. For subscribing, an
  *allow* fits when one of its filters covers the whole filter, a *deny* when it has any name in
  common with it: whoever may not read `secret/#` may not subscribe to `#` either.
- `eq FILTER` fits that very text only: `eq #` is about who subscribes to `#`, and no name.
- `#` and `+` never include a first level that starts with `$` (4.7.2), so `$SYS` and `$LINK` are
  granted by name only, and `no_match = allow` does not reach them.
- A placeholder whose value is missing, empty or has `/`, `+` or `#` is never expanded: an allow
  does not fit then, and a deny fits whatever stands in its place.

`$LINK/cluster/{route,msg,resp}/NAME` belong to the link with NAME. Where that link says whom it
accepts, only a client that authenticated as it may use them, whatever the rules say.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from isthmus_broker.mqtt.topics import covers, intersect, is_wild, match
from isthmus_broker.settings.models import AuthorizationSettings, LinkSettings, RuleSettings

Action = Literal["publish", "subscribe"]

_LINK: Final = b"$LINK/cluster/"
_RESERVED: Final = (b"$SYS", b"$LINK")
_PLACEHOLDER: Final = re.compile(r"\$\{(clientid|username|cert_common_name)\}")
_UNSAFE: Final = frozenset("/+#\0")


class Client(Protocol):
    """What rules look at; `routing.ports.ClientInfo` is one."""

    @property
    def client_id(self) -> str:
        """Client identifier."""

    @property
    def username(self) -> str | None:
        """User name."""

    @property
    def peer(self) -> str:
        """IP address."""

    @property
    def certificate_cn(self) -> str | None:
        """Common name of the verified client certificate."""

    @property
    def link(self) -> str | None:
        """Cluster for which it authenticated as a link."""


@dataclass(frozen=True, slots=True)
class _Topic:
    """A filter of a rule; `text` may have placeholders."""

    text: str
    literal: bool
    filter: bytes | None
    """Already encoded, where there is no placeholder."""

    @property
    def is_reserved(self) -> bool:
        """Whether it only fits names that start with `$`."""
        return self.filter is not None and self.filter.startswith(b"$")

    def expand(self, client: Client, allow: bool) -> bytes | None:
        """Return the filter for this client; None: it fits nothing."""
        if self.filter is not None:
            return self.filter
        levels = [_expand(level, client) for level in self.text.split("/")]
        if None not in levels:
            return "/".join(level or "" for level in levels).encode()
        if allow:
            return None
        return "/".join("+" if level is None else level for level in levels).encode()


@dataclass(frozen=True, slots=True)
class _Rule:
    allow: bool
    username: str | None
    client_id: str | None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    actions: tuple[Action, ...]
    topics: tuple[_Topic, ...]

    def concerns(self, client: Client, action: Action) -> bool:
        """Whether it is about this client and action."""
        return (
            action in self.actions
            and (self.username is None or self.username == client.username)
            and (self.client_id is None or self.client_id == client.client_id)
            and (self.network is None or _within(client.peer, self.network))
        )

    def fits(self, client: Client, action: Action, topic: bytes) -> bool:
        """Whether one of its filters fits the topic."""
        return any(self._fits(it, client, action, topic) for it in self.topics)

    def _fits(self, rule: _Topic, client: Client, action: Action, topic: bytes) -> bool:
        filter = rule.expand(client, self.allow)
        if filter is None:
            return False
        if rule.literal:
            return filter == topic
        if action == "publish":
            return match(filter, topic)
        return covers(filter, topic) if self.allow else intersect(filter, topic) is not None


class Rules:
    """The rules in force."""

    __slots__ = ("_default", "_guarded", "_links", "_rules")

    def __init__(
        self, authorization: AuthorizationSettings, links: Collection[LinkSettings] = ()
    ) -> None:
        self._rules = tuple(map(_compile, authorization.rules))
        self._default = authorization.no_match == "allow"
        self._links = frozenset(link.name for link in links)
        self._guarded = frozenset(link.name for link in links if link.is_guarded)

    def allowed(self, client: Client, action: Action, topic: bytes) -> bool:
        """Whether the client may publish to the name, or subscribe to the filter, `topic`.

        Of a shared subscription, `topic` is the filter without its group.
        """
        name = _link_name(topic)
        if name is not None and name in self._guarded:
            return client.link == name and _is_links_own(action, topic, name)
        for rule in self._rules:
            if rule.concerns(client, action) and rule.fits(client, action, topic):
                return rule.allow
        if topic.split(b"/", 1)[0] in _RESERVED:
            return self._default and name is not None and self._open_link(action, topic, name)
        return self._default

    def unrestricted_publish(self, client: Client) -> bool:
        """Whether the client may publish to every topic that does not start with `$`."""
        for rule in self._rules:
            if not rule.concerns(client, "publish"):
                continue
            if not rule.allow and not all(it.is_reserved for it in rule.topics):
                return False
            if rule.allow and any(it.filter == b"#" and not it.literal for it in rule.topics):
                return True
        return self._default

    def _open_link(self, action: Action, topic: bytes, name: str) -> bool:
        """A link that does not say whom it accepts takes everybody; a stranger gets an answer."""
        known = name in self._links or not topic.startswith(_LINK + b"msg/")
        return known and _is_links_own(action, topic, name)


def _compile(rule: RuleSettings) -> _Rule:
    network = None if rule.ipaddr is None else ipaddress.ip_network(rule.ipaddr, strict=False)
    actions: tuple[Action, ...] = ("publish", "subscribe")
    if rule.action != "all":
        actions = (rule.action,)
    topics = []
    for text in rule.topics:
        bare = text.removeprefix("eq ")
        topics.append(_Topic(bare, bare != text, None if "${" in bare else bare.encode()))
    return _Rule(
        rule.permit == "allow", rule.username, rule.clientid, network, actions, tuple(topics)
    )


def _expand(level: str, client: Client) -> str | None:
    """Put a client's values into one level; None where that is not safe."""
    if "${" not in level:
        return level
    values = {
        "clientid": client.client_id,
        "username": client.username,
        "cert_common_name": client.certificate_cn,
    }
    used = [values[name] for name in _PLACEHOLDER.findall(level)]
    if any(not value or _UNSAFE & set(value) for value in used):
        return None
    return _PLACEHOLDER.sub(lambda found: values[found[1]] or "", level)


def _within(peer: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in network


def _link_name(topic: bytes) -> str | None:
    """NAME of `$LINK/cluster/{route,msg,resp}/NAME...`."""
    if not topic.startswith(_LINK):
        return None
    levels = topic.split(b"/", 4)
    if len(levels) < 4 or levels[2] not in (b"route", b"msg", b"resp"):
        return None
    return levels[3].decode(errors="replace")


def _is_links_own(action: Action, topic: bytes, name: str) -> bool:
    kind, _, rest = topic[len(_LINK) :].partition(b"/")
    if action == "publish":
        return kind in (b"route", b"msg") and rest == name.encode(errors="replace")
    return kind == b"resp" and not is_wild(rest)
