"""Passwords that the operator makes, and their hashes as the broker's file of users has them.

Made once and kept: a hash is salted, and made anew it would change the file each time.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

_LOG_N: Final = 14
_R: Final = 8
_P: Final = 1
_BYTES: Final = 32


def new_password() -> str:
    """A password that nobody guesses: 256 bits, letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(_BYTES)


def scrypt_hash(password: str) -> str:
    """`$scrypt$ln=..,r=..,p=..$SALT$KEY`, with a new salt."""
    salt = secrets.token_bytes(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=1 << _LOG_N, r=_R, p=_P, dklen=_BYTES)
    return f"$scrypt$ln={_LOG_N},r={_R},p={_P}${_base64(salt)}${_base64(key)}"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")
