"""The operator's settings: what the environment may say, and what each refusal names."""

from __future__ import annotations

import pytest

from isthmus_operator.settings import SettingsError, load


def test_nothing_set() -> None:
    found = load({})
    assert (found.namespaces, found.health_port, found.log_format) == ((), 8080, "json")
    assert found.identity


def test_namespaces_once_each_whatever_the_spaces() -> None:
    assert load({"ISTHMUS_NAMESPACES": " a, b,a,"}).namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ISTHMUS_NAMESPACES", "a b"),
        ("ISTHMUS_NAMESPACES", "../kube-system"),
        ("ISTHMUS_NAMESPACES", "A"),
        ("ISTHMUS_LOG_LEVEL", "loud"),
        ("ISTHMUS_LOG_FORMAT", "xml"),
        ("ISTHMUS_HEALTH_PORT", "-1"),
        ("ISTHMUS_HEALTH_PORT", "65536"),
        ("ISTHMUS_HEALTH_PORT", "http"),
        ("ISTHMUS_HEALTH_PORT", "٣"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable} .*expected") as raised:
        load({variable: value})
    assert repr(value) in str(raised.value) or variable == "ISTHMUS_NAMESPACES"
