"""Shared groups: each message goes to one member, picked by a strategy (4.8.2)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, Literal, TypeVar
from zlib import crc32

Strategy = Literal["round_robin", "random", "sticky", "hash_clientid", "hash_topic"]
M = TypeVar("M")


class Group(Generic[M]):
    """The members of one shared group, by key, and how the next one is picked."""

    __slots__ = ("_members", "_next", "_random", "_sticky", "_strategy")

    def __init__(self, strategy: Strategy, rng: random.Random) -> None:
        self._strategy = strategy
        self._random = rng
        self._members: dict[str, M] = {}
        self._next = 0
        self._sticky: str | None = None

    def __len__(self) -> int:
        return len(self._members)

    def add(self, key: str, member: M) -> None:
        """Add a member, or replace the one of that key."""
        self._members[key] = member

    def remove(self, key: str) -> None:
        """Remove a member."""
        self._members.pop(key, None)

    def pick(self, publisher: str, topic: bytes, usable: Callable[[M], bool]) -> M | None:
        """The member that gets a message: a usable one if there is any; None without members."""
        keys = [key for key, member in self._members.items() if usable(member)]
        keys = keys or list(self._members)
        if not keys:
            return None
        return self._members[self._choose(keys, publisher, topic)]

    def _choose(self, keys: list[str], publisher: str, topic: bytes) -> str:
        match self._strategy:
            case "random":
                return self._random.choice(keys)
            case "hash_clientid":
                return keys[crc32(publisher.encode()) % len(keys)]
            case "hash_topic":
                return keys[crc32(topic) % len(keys)]
            case "sticky":
                if self._sticky not in keys:
                    self._sticky = self._random.choice(keys)
                return self._sticky
            case _:
                self._next += 1
                return keys[self._next % len(keys)]
