"""The store of retained messages: limits, expiry, slices; time is an argument."""

from __future__ import annotations

from isthmus_broker.mqtt.publish import Message
from isthmus_broker.routing.retained import Retained


def message(topic: bytes, payload: bytes = b"x", expires_at: float | None = None) -> Message:
    return Message(topic, payload, retain=True, expires_at=expires_at)


def topics_of(retained: Retained, filter: bytes, now: float = 0.0) -> list[bytes]:
    return [it.topic for some in retained.match_slices(filter, now, scan=2) for it in some]


def test_slices_find_all_that_match() -> None:
    retained = Retained()
    for number in range(7):
        retained.store(message(b"a/%d" % number), 0.0)
        retained.store(message(b"b/%d" % number), 0.0)
    assert topics_of(retained, b"a/+") == [b"a/%d" % number for number in range(7)]
    assert topics_of(retained, b"c/#") == []


def test_what_goes_while_it_is_read_is_left_out_and_what_stays_is_not() -> None:
    retained = Retained()
    for number in range(4):
        retained.store(message(b"%d" % number), 0.0)
    slices = retained.match_slices(b"#", 0.0, scan=2)
    assert [it.topic for it in next(slices)] == [b"0", b"1"]
    retained.store(message(b"2", b""), 0.0)
    retained.store(message(b"3", b"new"), 0.0)
    assert [(it.topic, it.payload) for it in next(slices)] == [(b"3", b"new")]


def test_bytes_are_counted() -> None:
    retained = Retained(max_bytes=10)
    assert retained.store(message(b"a", b"12345678"), 0.0)
    assert retained.bytes == 9
    assert not retained.store(message(b"b", b"1"), 0.0)
    assert retained.store(message(b"a", b"1"), 0.0)  # in place of the last
    assert retained.store(message(b"b", b"1"), 0.0)
    assert retained.bytes == 4
    assert retained.store(message(b"a", b""), 0.0)
    assert (retained.bytes, len(retained)) == (2, 1)


def test_one_that_does_not_fit_still_takes_the_place_of_the_last() -> None:
    """A stale value would be worse than none."""
    retained = Retained(max_payload=3)
    retained.store(message(b"a", b"old"), 0.0)
    assert not retained.store(message(b"a", b"too large"), 0.0)
    assert retained.get(b"a", 0.0) is None


def test_expired_ones_make_room() -> None:
    retained = Retained(max_count=2)
    retained.store(message(b"a", expires_at=10.0), 0.0)
    retained.store(message(b"b"), 0.0)
    assert not retained.store(message(b"c"), 9.0)
    assert retained.store(message(b"c"), 10.0)
    assert topics_of(retained, b"#", 10.0) == [b"b", b"c"]


def test_one_that_has_expired_already_is_not_kept() -> None:
    retained = Retained()
    assert retained.store(message(b"a", expires_at=5.0), 5.0)
    assert len(retained) == 0


def test_the_configured_age_is_for_those_without_their_own() -> None:
    retained = Retained(max_age=10.0)
    retained.store(message(b"a"), 0.0)
    retained.store(message(b"own", expires_at=20.0), 0.0)
    retained.store(message(b"renewed"), 0.0)
    retained.store(message(b"renewed"), 5.0)
    assert topics_of(retained, b"#", 9.9) == [b"a", b"own", b"renewed"]
    assert retained.get(b"a", 10.0) is None
    assert topics_of(retained, b"#", 10.0) == [b"own", b"renewed"]
    assert topics_of(retained, b"#", 15.0) == [b"own"]
