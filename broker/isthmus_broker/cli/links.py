"""`isthmus-broker links`: a table of what the admin API tells."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

_TIMEOUT: Final = 5.0
_MAX_ANSWER: Final = 16 << 20
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_INTERVAL: Final = 1.0
"""Seconds between two looks."""
_TICK: Final = 0.001
"""Seconds: a broker takes its times no finer."""
_COLOURS: Final = {"running": "green", "connecting": "yellow", "stopped": "dim"}


class Api:
    """The admin API of one broker."""

    def __init__(self, url: str, key: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected a URL such as http://127.0.0.1:18083")
        self._url = url.rstrip("/")
        self._headers = {"X-Isthmus-Key": key} if key else {}
        here = urllib.parse.urlsplit(url).hostname in _LOOPBACK
        proxies = urllib.request.ProxyHandler({} if here else None)  # None: the environment's
        self._opener = urllib.request.build_opener(proxies)

    def get(self, path: str) -> Any:
        """Get JSON.

        Raises:
            ConnectionError: nobody answers.
            OSError: the answer is an error; the text says which.
            ValueError: the answer is no JSON.

        """
        request = urllib.request.Request(self._url + path, headers=self._headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read(_MAX_ANSWER))
        except urllib.error.HTTPError as error:
            raise OSError(_told(error)) from error
        except urllib.error.URLError as error:
            reason = error.reason
            told = reason.strerror if isinstance(reason, OSError) else None
            raise ConnectionError(told or str(reason)) from error


def show(api: Api, *, as_json: bool, console: Console | None = None) -> None:
    """Print the links once."""
    if as_json:
        print(json.dumps(_links(api), indent=2, ensure_ascii=False))  # noqa: T201 - the product
        return
    (console or Console()).print(table(_own_name(api), _links(api)))


def watch_links(api: Api) -> None:
    """Show the links again each second, until Ctrl-C; a broker that goes away is awaited."""
    console = Console()
    first = table(_own_name(api), _links(api))
    try:
        if not console.is_terminal:
            for look in _looks(api, first):
                console.print(look)
        with Live(console=console, auto_refresh=False) as live:
            for look in _looks(api, first):
                live.update(look, refresh=True)
    except KeyboardInterrupt:
        return


def _looks(api: Api, shown: RenderableType) -> Iterator[RenderableType]:
    """What is to be shown, each second: with what went wrong below it, if anything."""
    yield shown
    while True:
        time.sleep(_INTERVAL)
        try:
            shown = table(_own_name(api), _links(api))
            yield shown
        except (OSError, ValueError) as error:
            yield Group(shown, Text(f"\nno answer now: {error}", "red"))


def table(own: str, links: list[dict[str, Any]]) -> RenderableType:
    """One row a direction; below, why those that do not run do not."""
    if not links:
        return Text(f"{own} has no links: see cluster.links in the configuration")
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    rows.add_column("LINK", no_wrap=True)
    rows.add_column("STATE", no_wrap=True, min_width=len("disconnected"))
    for column in ("ROUTES", "MSG/S", "LAG"):
        rows.add_column(column, justify="right", no_wrap=True, min_width=6)
    reasons: dict[str, None] = {}
    for link in links:
        node = (link.get("node_status") or [{}])[0]
        for name, side in (
            (f"{link['name']} → {own}", "incoming"),
            (f"{own} → {link['name']}", "outgoing"),
        ):
            direction = node.get(side) or {"state": link.get("status", "")}
            rows.add_row(name, *_cells(direction))
            if direction.get("reason"):
                reasons[f"{link['name']}: {direction['reason']}"] = None
    return Group(rows, Text("\n" + "\n".join(reasons))) if reasons else rows


def _cells(direction: dict[str, Any]) -> list[str | Text]:
    state = str(direction.get("state", ""))
    return [
        Text(state, style=_COLOURS.get(state, "red")),
        str(direction.get("routes", "-")),
        f"{direction.get('rate', 0.0):.1f}",
        _lag(direction.get("lag")),
    ]


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < _TICK:
        return "<1 ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _links(api: Api) -> list[dict[str, Any]]:
    found = api.get("/api/v5/cluster/links")
    return found if isinstance(found, list) else []


def _own_name(api: Api) -> str:
    return str(api.get("/api/v5/status").get("cluster", "here"))


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message = json.loads(error.read(_MAX_ANSWER))["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return f"{error.code}: {message}"
