"""`isthmus-broker links`: a table of what the admin API tells."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

_TIMEOUT: Final = 5.0
_MAX_ANSWER: Final = 16 << 20
_COLOURS: Final = {"running": "green", "connecting": "yellow", "stopped": "dim"}


class Api:
    """The admin API of one broker."""

    def __init__(self, url: str, key: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected a URL such as http://127.0.0.1:18083")
        self._url = url.rstrip("/")
        self._headers = {"X-Isthmus-Key": key} if key else {}

    def get(self, path: str) -> Any:
        """Get JSON.

        Raises:
            OSError: nobody answers, or the answer is an error; the text says which.
            ValueError: the answer is no JSON.

        """
        request = urllib.request.Request(self._url + path, headers=self._headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                return json.loads(answer.read(_MAX_ANSWER))
        except urllib.error.HTTPError as error:
            raise OSError(_told(error)) from error
        except urllib.error.URLError as error:
            raise OSError(f"no answer: {error.reason}") from error


def show(api: Api, *, as_json: bool, console: Console | None = None) -> None:
    """Print the links once."""
    links = api.get("/api/v5/cluster/links")
    if as_json:
        print(json.dumps(links, indent=2, ensure_ascii=False))  # noqa: T201 - the product
        return
    (console or Console()).print(table(_own_name(api), links))


def watch_links(api: Api) -> None:
    """Show the links again each second, until Ctrl-C; a broker that is away is awaited."""
    own = _own_name(api)
    with Live(table(own, api.get("/api/v5/cluster/links")), screen=False) as live:
        try:
            while True:
                time.sleep(1)
                try:
                    live.update(table(own, api.get("/api/v5/cluster/links")))
                except OSError as error:
                    live.update(Text(f"{error}", style="red"))
        except KeyboardInterrupt:
            return


def table(own: str, links: list[dict[str, Any]]) -> Table:
    """One row a direction."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("LINK", no_wrap=True)
    shown.add_column("STATE", no_wrap=True)
    for column in ("ROUTES", "MSG/S", "LAG"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("REASON", overflow="fold")
    for link in links:
        node = (link.get("node_status") or [{}])[0]
        for name, direction in (
            (f"{link['name']} → {own}", node.get("incoming")),
            (f"{own} → {link['name']}", node.get("outgoing")),
        ):
            shown.add_row(name, *_cells(direction or {"state": link.get("status", "")}))
    return shown


def _cells(direction: dict[str, Any]) -> list[str | Text]:
    state = str(direction.get("state", ""))
    lag = direction.get("lag")
    return [
        Text(state, style=_COLOURS.get(state, "red")),
        str(direction.get("routes", "-")),
        f"{direction.get('rate', 0.0):.1f}",
        "-" if lag is None else f"{lag * 1000:.1f} ms",
        Text(str(direction.get("reason", ""))),
    ]


def _own_name(api: Api) -> str:
    return str(api.get("/api/v5/status").get("cluster", "here"))


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message = json.loads(error.read(_MAX_ANSWER))["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return f"{error.code}: {message}"
