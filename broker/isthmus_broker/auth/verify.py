"""Finding out who a client is, without ever holding up the event loop.

Passwords are checked by a few threads behind a bounded queue; a password that was right once is
recognised at once while its user's hash stays the same, so that many clients that come back at
the same time do not wait for one another. What follows from an identity is in `rules`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from isthmus_broker.auth import users
from isthmus_broker.auth.users import Users
from isthmus_broker.errors import ConfigurationError, Mistake
from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.settings.models import (
    CertificateAuthentication,
    LinkSettings,
    PasswordAuthentication,
    Settings,
)

THREADS: Final = 2
MAX_WAITING: Final = 2_000
"""Passwords that wait to be checked; beyond, a client is told that the server is busy."""
MAX_REMEMBERED: Final = 100_000
"""Users whose last right password is recognised at once."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Who a client has proved to be."""

    username: str | None
    """User name: proved where there is authentication, else what the client says."""
    link: str | None = None
    """Name of the cluster for which it may speak as a link."""


Outcome = Proof | ReasonCode
Done = Callable[[Outcome], None]


class Verifier:
    """Checks passwords in threads. One a process; `close` it at the end."""

    def __init__(self, threads: int = THREADS, max_waiting: int = MAX_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._max_waiting = max_waiting
        self._waiting = 0
        self._key = secrets.token_bytes(32)
        self._remembered: dict[str, bytes] = {}

    def verify(
        self, known: Sequence[Users], username: str, password: bytes, done: Callable[[bool], None]
    ) -> bool:
        """Call `done`, in the event loop, at once or later; False: too many wait, it never is."""
        digest = self._digest(known, username, password)
        remembered = self._remembered.get(username)
        if remembered is not None and hmac.compare_digest(remembered, digest):
            done(True)
            return True
        if self._waiting >= self._max_waiting:
            return False
        self._waiting += 1
        loop = asyncio.get_running_loop()

        def finish(fits: bool) -> None:
            self._waiting -= 1
            if fits:
                self._remember(username, digest)
            done(fits)

        def tell(future: Future[bool]) -> None:
            if not future.cancelled() and not loop.is_closed():
                fits = future.exception() is None and future.result()
                loop.call_soon_threadsafe(finish, fits)

        self._pool.submit(_verify_any, tuple(known), username, password).add_done_callback(tell)
        return True

    def close(self) -> None:
        """Stop the threads; what waits is forgotten."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _remember(self, username: str, digest: bytes) -> None:
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[username] = digest

    def _digest(self, known: Sequence[Users], username: str, password: bytes) -> bytes:
        """Depends on the stored hashes, so that a changed password is never taken for the old."""
        stored = "\n".join(users.hashes.get(username, "") for users in known)
        parts = (stored.encode(), username.encode(errors="replace"), password)
        framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._key, framed, hashlib.sha256)


class Authentication:
    """The methods in force, and which identities are links."""

    __slots__ = ("_anonymous", "_by_certificate", "_links", "_users", "_verifier")

    def __init__(self, settings: Settings, known: Sequence[Users], verifier: Verifier) -> None:
        methods = [method for method in settings.authentication if method.enable]
        self._by_certificate = next(
            (it for it in methods if isinstance(it, CertificateAuthentication)), None
        )
        self._users = tuple(known)
        self._anonymous = settings.anonymous
        self._links = settings.cluster.links
        self._verifier = verifier

    def identify(
        self, username: str | None, password: bytes | None, certificate_cn: str | None, done: Done
    ) -> None:
        """Call `done` with the outcome, at once or later.

        `certificate_cn` is that of a certificate that TLS has verified.
        """
        if certificate_cn is not None and self._by_certificate is not None:
            named = self._by_certificate.username_from == "cn"
            shown = certificate_cn if named else username
            done(self._proof(shown, certificate_cn, proved=named))
        elif username is not None and self._users:
            self._by_password(username, password or b"", certificate_cn, done)
        elif self._anonymous:
            done(self._proof(username, certificate_cn, proved=False))
        else:
            done(ReasonCode.NOT_AUTHORIZED)

    def _by_password(
        self, username: str, password: bytes, certificate_cn: str | None, done: Done
    ) -> None:
        def decide(fits: bool) -> None:
            if fits:
                done(self._proof(username, certificate_cn, proved=True))
            else:
                done(ReasonCode.BAD_USER_NAME_OR_PASSWORD)

        if not self._verifier.verify(self._users, username, password, decide):
            done(ReasonCode.SERVER_BUSY)

    def _proof(self, username: str | None, certificate_cn: str | None, *, proved: bool) -> Proof:
        return Proof(
            username, link_identity(self._links, username if proved else None, certificate_cn)
        )


def link_identity(
    links: Sequence[LinkSettings], username: str | None, certificate_cn: str | None
) -> str | None:
    """Name of the cluster whose link accepts a proved user name or certificate."""
    for link in links:
        if username is not None and username in link.accept.usernames:
            return link.name
        if certificate_cn is not None and certificate_cn in link.accept.certificate_names:
            return link.name
    return None


def load_users(settings: Settings) -> list[Users]:
    """Read the password files that the configuration names.

    Raises:
        ConfigurationError: with every mistake of all files.

    """
    found: list[Users] = []
    mistakes: list[Mistake] = []
    for method in settings.authentication:
        if not isinstance(method, PasswordAuthentication) or not method.enable:
            continue
        try:
            found.append(users.load(method.file))
        except ConfigurationError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigurationError(mistakes)
    return found


def _verify_any(known: Sequence[Users], username: str, password: bytes) -> bool:
    fits = [users.verify(username, password) for users in known]
    return any(fits)
