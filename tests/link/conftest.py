"""What tests of links between processes share: hand-made peers, proxies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from brokers import Brokers
from emqx import EmqxServer, Manners
from linked import Gate, Gated
from proxy import TcpProxy, proxied


@pytest.fixture
def proxy() -> Iterator[Callable[[int], TcpProxy]]:
    """Call it with a port for a proxy to it."""
    with contextlib.ExitStack() as opened:
        yield lambda target: opened.enter_context(proxied(target))


@pytest.fixture
def gated(start_broker: Brokers, proxy: Callable[[int], TcpProxy]) -> Gate:
    """Call it (with settings of us's link) for two clusters with a gate between."""
    return lambda **settings: Gated(start_broker, proxy, **settings)


@pytest.fixture
def emqx_server() -> Iterator[Callable[..., EmqxServer]]:
    """Call it (with `Manners`) for a server that links take for EMQX."""
    with contextlib.ExitStack() as opened:

        def serve(manners: Manners | None = None, port: int = 0) -> EmqxServer:
            server = EmqxServer(port, manners)
            opened.callback(server.close)
            return server

        yield serve
