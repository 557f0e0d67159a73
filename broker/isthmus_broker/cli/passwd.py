"""`isthmus-broker passwd`: changes one user of a password file, all or nothing."""

from __future__ import annotations

from pathlib import Path

from isthmus_broker.auth.users import edited, hash_password, parse, wrong_username
from isthmus_broker.settings.overlay import replace


def change(file: Path, user: str, password: bytes | None) -> str:
    """Set a password, or (None) remove the user; returns what was done.

    Raises:
        ValueError: the user name, the password or the user to remove is wrong.
        ConfigurationError: the file is no password file.
        OSError: it can't be read; StoreError: it can't be written.

    """
    wrong = wrong_username(user)
    if wrong:
        raise ValueError(wrong)
    if password == b"":
        raise ValueError("the password is empty")
    real = file.resolve()
    before = real.read_text(encoding="utf-8") if real.exists() else ""
    mode = real.stat().st_mode & 0o777 if real.exists() else 0o600
    known = parse(before, str(file)).hashes
    try:
        after = edited(before, user, None if password is None else hash_password(password))
    except KeyError as error:
        raise ValueError(f'there is no user "{user}"') from error
    replace(real, after.encode(), mode)
    done = "removed" if password is None else "changed" if user in known else "added"
    return f'user "{user}" {done}'
