"""The broker's configuration file, by a jinja2 template.

Every text of a user goes through `hocon`, so that it stays a text whatever it holds; only the
fragment `spec.config` is HOCON itself, and comes last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import jinja2

from isthmus_operator import names
from isthmus_operator.errors import ResourceError
from isthmus_operator.model import BrokerCluster, Listener
from isthmus_operator.render.entries import LinkEntry

FILE: Final = "isthmus.conf"
_OURS: Final = re.compile(r'(?:^|[{},])\s*"?(cluster|node|api)"?\s*[.:={+]', re.MULTILINE)
_INCLUDE: Final = re.compile(r'(?:^|[{},])\s*include\s*["a-z]', re.MULTILINE)
_TEXT: Final = re.compile(r'"""(?s:.*?)"""|"(?:[^"\\\n]|\\.)*"')
_COMMENT: Final = re.compile(r"#.*|^\s*//.*", re.MULTILINE)


def hocon(value: object) -> str:
    """A text, number, flag or list of texts as HOCON, which takes what JSON says."""
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, ensure_ascii=True)


def _server(link: LinkEntry) -> str:
    return f"{'mqtts' if link.peer.tls else 'mqtt'}://{link.peer.endpoint}"


def _address(port: int) -> str:
    return hocon(f"0.0.0.0:{port}")


_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("isthmus_operator.render"),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - no HTML; `hocon` quotes
)
_ENVIRONMENT.filters.update(hocon=hocon, server=_server)
_ENVIRONMENT.globals["address"] = _address


def config(cluster: BrokerCluster, links: Sequence[LinkEntry]) -> str:
    """The text of `isthmus.conf`.

    Raises:
        ResourceError: the fragment sets what is the operator's.
    """
    spec = cluster.spec
    return _ENVIRONMENT.get_template(f"{FILE}.j2").render(
        cluster=cluster,
        links=links,
        listeners=spec.listeners,
        optional=list(_optional(cluster)),
        plain=any(link.plain_in for link in links),
        ports={
            "link": names.LINK_PORT,
            "plain": names.LINK_PLAIN_PORT,
            "api": names.API_PORT,
        },
        anonymous=spec.authentication.anonymous,
        authorization=spec.authorization,
        identities=sorted({name for link in links for name in link.logins}),
        fragment=checked_fragment(spec.config),
    )


def checked_fragment(fragment: str) -> str:
    """The fragment as it may be appended; what else is wrong in it, the broker says.

    It is searched, not parsed: texts and comments are blanked, then a key counts that stands at the
    start of a line or after a brace or comma. That catches slips, which is all that is needed: who
    may write a BrokerCluster may as well run another image.

    Raises:
        ResourceError: it sets `cluster`, `node` or `api`, or includes a file.
    """
    plain = _COMMENT.sub("", _TEXT.sub(_blanked, fragment))
    found = _OURS.search(plain)
    if found:
        raise ResourceError(
            "ConfigRefused",
            f"spec.config sets {found[1]}, which the operator sets itself: expected keys of other"
            " sections, such as mqtt, retainer or log; remove it",
        )
    if _INCLUDE.search(plain):
        raise ResourceError(
            "ConfigRefused",
            "spec.config has an include, but there are no further files in the pod: write what it"
            " includes instead",
        )
    return fragment.strip()


def _blanked(text: re.Match[str]) -> str:
    """A text as nothing, unless it may be one of our keys in quotes."""
    return text[0] if text[0].strip('"') in {"cluster", "node", "api"} else '""'


def _optional(cluster: BrokerCluster) -> list[tuple[str, str, Listener]]:
    """Listeners that need not be there: kind in the file, name, settings."""
    found = cluster.spec.listeners
    named: list[tuple[str, str, Any]] = [
        ("ssl", "mqtts", found.mqtts),
        ("ws", "ws", found.ws),
        ("wss", "wss", found.wss),
    ]
    return [one for one in named if one[2] is not None and one[2].enable]
