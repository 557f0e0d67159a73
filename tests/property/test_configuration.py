"""Any text in place of a configuration is settings or mistakes with their places; never else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.settings import Settings, load

SEED = Path(__file__).parents[1] / "link/seed"
TEXTS = [path.read_text() for path in sorted(SEED.glob("*.conf"))]
TEXTS.append(
    """
    node.name = "n@1", mqtt { max_packet_size = 1MB, session_expiry_interval = 2h }
    listeners.tcp.default { bind = "127.0.0.1:1883", max_connections = 10 }
    authentication = [{ mechanism = password_based, backend = file, file = users }]
    authorization { no_match = deny, rules = [
      { permit = allow, username = u, topics = ["a/${clientid}/#"], action = publish }] }
    api { bind = "127.0.0.1:18083", api_key = "0123456789abcdef" }
    sys_topics.sys_msg_interval = disabled
    """
)
PIECES = st.sampled_from(
    ["{", "}", "[", "]", "=", ":", ",", '"', '"""', "\n", "#", "${", "${?", "}", "include ", "+=",
     "null", "true", "-1", "1e999", "9" * 40, "\0", "\ufeff", "é", "enable", "cluster", "links"]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good configuration with pieces put in, taken out or doubled."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(text)))
        size = draw(st.integers(0, 30))
        match draw(st.sampled_from(("insert", "delete", "double"))):
            case "insert":
                text = text[:at] + draw(PIECES) + text[at:]
            case "delete":
                text = text[:at] + text[at + size :]
            case _:
                text = text[: at + size] + text[at:]
    return text


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=damaged())
def test_a_damaged_configuration_is_read_or_its_mistakes_are_told(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "broker.conf"
    file.write_text(text)
    try:
        found = load(file, {})
    except ConfigurationError as error:
        mistakes = error.mistakes
    else:
        assert found.content_hash
        return
    assert mistakes
    for mistake in mistakes:
        assert mistake.message
        assert mistake.file or mistake.key


@pytest.mark.parametrize("text", TEXTS)
def test_the_undamaged_ones_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "broker.conf").write_text(text)
    (tmp_path / "users").touch()
    assert isinstance(load(tmp_path / "broker.conf", {}), Settings)
