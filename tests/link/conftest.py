"""What tests of links between processes share: hand-made peers, proxies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from emqx import EmqxServer, Manners
from proxy import TcpProxy, proxied


@pytest.fixture
def proxy() -> Iterator[Callable[[int], TcpProxy]]:
    """Call it with a port for a proxy to it."""
    with contextlib.ExitStack() as opened:
        yield lambda target: opened.enter_context(proxied(target))


@pytest.fixture
def emqx_server() -> Iterator[Callable[..., EmqxServer]]:
    """Call it (with `Manners`) for a server that links take for EMQX."""
    with contextlib.ExitStack() as opened:

        def serve(manners: Manners | None = None, port: int = 0) -> EmqxServer:
            server = EmqxServer(port, manners)
            opened.callback(server.close)
            return server

        yield serve
