"""Locks between processes: two `hack/kube` at once, or one and a test."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from clusters import paths


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of that name; it ends with its process, however that ends."""
    paths.locks().mkdir(parents=True, exist_ok=True)
    with (paths.locks() / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
