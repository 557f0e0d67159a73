"""Helm, built where it is missing."""

from __future__ import annotations

import pytest

from clusters import programs


@pytest.fixture(scope="session", autouse=True)
def helm_is_here() -> None:
    programs.ensure(["helm"])
