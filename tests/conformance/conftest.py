"""One broker for each module, unless a test starts its own; and clients of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from brokers import Broker
from isthmus_broker.mqtt.codes import V5
from rawmqtt import RawClient

_numbers = itertools.count(1)


@pytest.fixture
def broker(module_broker: Broker) -> Broker:
    """The module's broker; with another scope than a test's own."""
    assert module_broker.running, module_broker.log()
    return module_broker


@pytest.fixture
def name() -> str:
    """A name that no other test of this run uses: for client ids and topics."""
    return f"t{next(_numbers)}"


@pytest.fixture
def connect(broker: Broker, raw: Callable[..., RawClient]) -> Callable[..., RawClient]:
    """Call it with a client id (and a level, and fields of CONNECT) for a connected client."""

    def connected(client_id: str = "", level: int = V5, **fields: Any) -> RawClient:
        client = raw(broker.port, level)
        answer = client.connect(client_id, **fields)
        assert answer.reason_code == 0, answer
        return client

    return connected
