"""The clients of the load: they count what they should, and notice what is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from benchmarks import latency, mqtt
from benchmarks.clients import Acknowledger, Counter, LoadError, Ring
from benchmarks.exactly_once import Receiver, Sender

TOPIC = "bench/1"
PAYLOAD = b"x" * 10


def packets(qos: int, *numbers: int) -> bytes:
    return b"".join(mqtt.publish(TOPIC, PAYLOAD, qos, number) for number in numbers)


ONE = packets(0, 0)
SIZE = len(packets(1, 1))
AT = SIZE - len(PAYLOAD) - 2


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, brokers = socket.socketpair()
    brokers.settimeout(5)
    with ours, brokers:
        yield ours, brokers


Ends = tuple[socket.socket, socket.socket]


def test_counter_counts_whole_messages(ends: Ends) -> None:
    counter = Counter(ends[0], ONE)
    ends[1].sendall(ONE * 2 + ONE[:5])
    counter.ready()
    assert counter.received == 2
    ends[1].sendall(ONE[5:])
    counter.ready()
    assert counter.received == 3


def test_counter_notices_a_changed_byte(ends: Ends) -> None:
    ends[1].sendall(ONE + ONE[:-1] + b"y")
    with pytest.raises(LoadError, match="other bytes"):
        Counter(ends[0], ONE).ready()


@pytest.mark.parametrize("kind", [Counter, Acknowledger, Receiver])
def test_subscribers_notice_the_end(ends: Ends, kind: type) -> None:
    ends[1].shutdown(socket.SHUT_WR)
    with pytest.raises(LoadError, match="closed"):
        (kind(ends[0], ONE) if kind is Counter else kind(ends[0], packets(1, 1), AT)).ready()


def test_acknowledger_answers_each_message_by_its_identifier(ends: Ends) -> None:
    client = Acknowledger(ends[0], packets(1, 1), AT)
    data = packets(1, 1, 258, 65_535)
    for part in (data[:7], data[7:]):
        ends[1].sendall(part)
        client.ready()
    assert client.received == 3
    assert ends[1].recv(100) == bytes.fromhex("40020001 40020102 4002ffff")


def test_receiver_plays_both_parts_of_qos_2(ends: Ends) -> None:
    client = Receiver(ends[0], packets(2, 1), AT)
    ends[1].sendall(packets(2, 7, 8)[:-3])
    client.ready()
    assert ends[1].recv(100) == bytes.fromhex("50020007")
    ends[1].sendall(packets(2, 8)[-3:] + bytes.fromhex("62020007"))
    client.ready()
    assert ends[1].recv(100) == bytes.fromhex("50020008 70020007")
    assert client.received == 1


def test_ring_sends_what_is_allowed_and_begins_again(ends: Ends) -> None:
    ring = Ring(ends[0], packets(1, 1, 2), SIZE)
    ring.push(3)
    assert ends[1].recv(1000) == packets(1, 1, 2, 1)
    assert (ring.sent, ring.whole, ring.acknowledged) == (3, True, 0)
    ends[1].sendall(bytes.fromhex("40020001 40020002"))
    ring.ready()
    assert ring.acknowledged == 2


def test_sender_releases_what_was_received(ends: Ends) -> None:
    sender = Sender(ends[0], packets(2, 1, 2), SIZE)
    sender.push(2)
    assert ends[1].recv(1000) == packets(2, 1, 2)
    ends[1].sendall(bytes.fromhex("50020001 5002"))
    sender.ready()
    assert ends[1].recv(1000) == bytes.fromhex("62020001")
    ends[1].sendall(bytes.fromhex("0002 70020001"))
    sender.ready()
    assert ends[1].recv(1000) == bytes.fromhex("62020002")
    assert sender.acknowledged == 1


def test_summary_is_median_and_99th_percentile_in_microseconds() -> None:
    found = latency.summary([number / 1e6 for number in range(1000, 0, -1)])
    assert (round(found.median), round(found.p99), found.count) == (501, 991, 1000)
