"""The end of a bootstrap: pure, with time as an argument."""

from __future__ import annotations

import pytest

from isthmus_broker.link import payload
from isthmus_broker.link.actor import BATCH_PAUSE, Actor, Names, Publish, State
from isthmus_broker.link.exports import Exports
from isthmus_broker.link.payload import ActorInitAck

NAMES = Names("us", "eu", "127.0.0.1:1883", b"node")


@pytest.mark.parametrize("took", [0.0, BATCH_PAUSE / 2, BATCH_PAUSE, 1.0])
def test_it_is_online_at_once_however_soon_the_last_batch_is_acknowledged(took: float) -> None:
    exports = Exports((b"#",))
    exports.subscribed(b"linked/#", None)
    actor = Actor(NAMES, 1, exports, lambda: b"correlation")
    actor.connected(0.0)
    actor.subscribed(0, 0.0)
    actor.acknowledged(0, 0.0)
    ack = payload.encode_control(ActorInitAck(NAMES.actor, "", True, None))
    batch = actor.answered(b"correlation", ack, 0.0)
    assert [type(it) for it in batch] == [Publish]
    actor.acknowledged(0, took)
    assert actor.due <= max(took, BATCH_PAUSE) or actor.state is State.ONLINE
    actor.run(max(took, BATCH_PAUSE))
    assert actor.state is State.ONLINE
