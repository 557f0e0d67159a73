"""The broker as a process: starts, serves, ends; what the other tests stand on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brokers import Brokers
from isthmus_broker.mqtt.codes import V5, V311
from rawmqtt import Closed, RawClient
from waiting import wait_for


@pytest.mark.parametrize("level", [V311, V5])
def test_it_serves_and_ends_with_zero(
    start_broker: Brokers, raw: Callable[..., RawClient], level: int
) -> None:
    broker = start_broker()
    one = raw(broker.port, level)
    assert one.connect("one").reason_code == 0
    assert one.subscribe("a/+").codes == [0]
    one.publish("a/b", b"hello")
    assert one.take().payload == b"hello"
    broker.stop()
    one.expect_disconnect(0x8B)


def test_it_comes_back_on_the_same_port_after_a_kill(
    start_broker: Brokers, raw: Callable[..., RawClient]
) -> None:
    broker = start_broker()
    one = raw(broker.port)
    one.connect("one")
    broker.kill()
    with pytest.raises(Closed):
        one.receive()
    broker.start()
    assert raw(broker.port).connect("one").reason_code == 0


def test_a_frozen_broker_answers_once_it_goes_on(
    start_broker: Brokers, raw: Callable[..., RawClient]
) -> None:
    broker = start_broker()
    one = raw(broker.port)
    one.connect("one")
    broker.freeze()
    one.send(b"\xc0\x00")
    broker.thaw()
    assert one.receive_bytes() == (0xD0, b"")


def test_a_configuration_with_mistakes_starts_nothing(start_broker: Brokers) -> None:
    broker = start_broker("mqtt.max_qos_allowed = 3\n", start=False)
    broker.start(ready=False)
    wait_for(lambda: not broker.running)
    assert broker.process is not None
    assert broker.process.returncode == 1
    assert "mqtt.max_qos_allowed" in broker.log()
