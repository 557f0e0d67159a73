"""User names and password hashes: the file, checking a password, and writing the file.

One `USER:HASH` a line; empty lines and lines that start with `#` are comments. The hash is argon2
(what `isthmus-broker passwd` writes) or `$scrypt$ln=..,r=..,p=..$SALT$KEY`. Checking takes tens of
milliseconds on purpose, so `auth.verify` does it outside the event loop.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from isthmus_broker.errors import ConfigurationError, Mistake

MAX_FILE_BYTES: Final = 64 << 20
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 << 10, parallelism=1, type=Type.ID)
"""19 MiB and two passes: what OWASP asks for, small enough for many at a time."""
_SCRYPT: Final = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_NOBODY: Final = _HASHER.hash("nobody's password, for users who do not exist")


@dataclass(frozen=True, slots=True)
class Users:
    """Users and their hashes, as of one reading of the file."""

    hashes: dict[str, str]

    def verify(self, username: str, password: bytes) -> bool:
        """Check a password. Slow on purpose, and as slow for users who do not exist."""
        known = self.hashes.get(username)
        fits = _verify(_NOBODY if known is None else known, password)
        return fits and known is not None


def hash_password(password: bytes) -> str:
    """Make the hash to be put into the file."""
    return _HASHER.hash(password)


def parse(text: str, file: str = "") -> Users:
    """Read the text of a password file.

    Raises:
        ConfigurationError: with the line of every mistake; hashes are never shown.

    """
    hashes: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        user, colon, hashed = entry.rpartition(":")
        wrong = _wrong_entry(user, colon, hashed)
        if not wrong and user in hashes:
            wrong = f'"{user}" stands here twice'
        if wrong:
            mistakes.append(Mistake("", wrong, file, number))
        hashes[user] = hashed
    if mistakes:
        raise ConfigurationError(mistakes)
    return Users(hashes)


def load(path: Path) -> Users:
    """Read a password file.

    Raises:
        ConfigurationError: it can't be read, or has mistakes.

    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(
                [Mistake("", f"larger than {MAX_FILE_BYTES} bytes", str(path))]
            )
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        reason = f"can't be read: {error.strerror}"
        raise ConfigurationError([Mistake("", reason, str(path))]) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError([Mistake("", "not UTF-8", str(path))]) from error


def edited(text: str, username: str, hashed: str | None) -> str:
    """Return the file's text with a user added, changed or (None) removed; comments stay.

    Raises:
        KeyError: there is no such user to remove.

    """
    lines = text.splitlines()
    at = next((i for i, it in enumerate(lines) if it.strip().rpartition(":")[0] == username), None)
    if hashed is None:
        if at is None:
            raise KeyError(username)
        del lines[at]
    elif at is None:
        lines.append(f"{username}:{hashed}")
    else:
        lines[at] = f"{username}:{hashed}"
    return "".join(f"{line}\n" for line in lines)


def wrong_username(username: str) -> str:
    """Say what keeps a user name out of the file; empty if nothing does."""
    if not username or username != username.strip() or username.startswith("#"):
        return "a user name can't be empty, start with # or have spaces around it"
    if not username.isprintable():
        return "a user name can't have control characters"
    return ""


def _wrong_entry(user: str, colon: str, hashed: str) -> str:
    if not colon or not user:
        return "expected USER:HASH"
    return wrong_username(user) or _wrong_hash(hashed)


def _wrong_hash(hashed: str) -> str:
    if hashed.startswith("$argon2"):
        try:
            extract_parameters(hashed)
        except (InvalidHashError, ValueError):
            return "the argon2 hash is damaged"
        return ""
    if found := _SCRYPT.fullmatch(hashed):
        cost = (128 * int(found[2]) << int(found[1])) if int(found[1]) <= 22 else 1 << 40
        return "" if 0 < cost <= 256 << 20 else "the scrypt hash needs more than 256 MiB"
    return "expected an argon2 or scrypt hash (isthmus-broker passwd writes them)"


def _verify(hashed: str, password: bytes) -> bool:
    if found := _SCRYPT.fullmatch(hashed):
        return _verify_scrypt(found, password)
    try:
        return _HASHER.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _verify_scrypt(found: re.Match[str], password: bytes) -> bool:
    try:
        salt, key = (base64.b64decode(text + "=" * (-len(text) % 4)) for text in found.group(4, 5))
        derived = hashlib.scrypt(
            password,
            salt=salt,
            n=1 << int(found[1]),
            r=int(found[2]),
            p=int(found[3]),
            maxmem=512 << 20,
            dklen=len(key),
        )
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(derived, key)
