"""Password files, checking passwords without holding up the loop, and link identities."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus_broker.auth import users
from isthmus_broker.auth.users import Users, edited, hash_password, parse
from isthmus_broker.auth.verify import Authentication, Outcome, Proof, Verifier, load_users
from isthmus_broker.errors import ConfigurationError
from isthmus_broker.mqtt.codes import ReasonCode
from isthmus_broker.settings import Settings, load

ALICE = hash_password(b"wonderland")


def scrypt_hash(password: bytes, ln: int = 4) -> str:
    salt = b"salty"
    key = hashlib.scrypt(password, salt=salt, n=1 << ln, r=8, p=1, dklen=32)
    shown = [base64.b64encode(it).decode().rstrip("=") for it in (salt, key)]
    return f"$scrypt$ln={ln},r=8,p=1${shown[0]}${shown[1]}"


@pytest.mark.parametrize(
    ("hashed", "password", "fits"),
    [
        (ALICE, b"wonderland", True),
        (ALICE, b"Wonderland", False),
        (ALICE, b"", False),
        (scrypt_hash(b"x\xff"), b"x\xff", True),
        (scrypt_hash(b"x"), b"y", False),
    ],
)
def test_verify(hashed: str, password: bytes, fits: bool) -> None:
    known = parse(f"# comment\n\nalice:{hashed}\n")
    assert known.verify("alice", password) == fits
    assert not known.verify("bob", password)


def test_nobody_has_no_password() -> None:
    assert not Users({}).verify("bob", b"nobody's password, for users who do not exist")


def test_names_may_have_colons() -> None:
    assert parse(f"a:b:{ALICE}").verify("a:b", b"wonderland")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alice", "expected USER:HASH"),
        (":x", "expected USER:HASH"),
        ("alice:secret", "expected an argon2 or scrypt hash"),
        ("alice:$argon2id$nonsense", "argon2 hash is damaged"),
        ("alice:$scrypt$ln=22,r=999,p=1$AAAA$AAAA", "more than 256 MiB"),
        (f"bob:{ALICE}\nbob:{ALICE}", "twice"),
    ],
)
def test_mistakes_name_the_line_and_never_the_hash(line: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse(f"carol:{ALICE}\n{line}\n", "users")
    assert caught.value.mistakes[0].line == 2 + line.count("\n")
    assert "secret" not in str(caught.value)


def test_edited_keeps_what_it_does_not_change() -> None:
    text = "# ours\nalice:x\nbob:y"
    assert edited(text, "alice", "z") == "# ours\nalice:z\nbob:y\n"
    assert edited(text, "carol", "z") == "# ours\nalice:x\nbob:y\ncarol:z\n"
    assert edited(text, "bob", None) == "# ours\nalice:x\n"
    with pytest.raises(KeyError):
        edited(text, "dave", None)


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "users"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"read|UTF-8"):
        users.load(path)


# --- Who a client is ----------------------------------------------------------------------------


@pytest.fixture(name="verifier")
def _verifier() -> Iterator[Verifier]:
    verifier = Verifier()
    yield verifier
    verifier.close()


def settings(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "users").write_text(f"alice:{ALICE}\nlink-b:{ALICE}\n")
    (tmp_path / "broker.conf").write_text(text)
    return load(tmp_path / "broker.conf", {})


async def outcome(them: Authentication, *said: Any) -> Outcome:
    waiting: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    them.identify(*said, waiting.set_result)
    async with asyncio.timeout(10):
        return await waiting


PASSWORDS = 'authentication = [{mechanism = password_based, file = "users"}]\n'
CERTIFICATES = "authentication = [{mechanism = client_certificate}]\n"
LINKS = (
    'cluster { name = a, links = [{ name = b, server = "h:1", topics = [],'
    " accept { usernames = [link-b], certificate_names = [cn-b] } }] }\n"
)
BAD = ReasonCode.BAD_USER_NAME_OR_PASSWORD
NOBODY = ReasonCode.NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("", (None, None, None), Proof(None)),
        ("", ("alice", b"x", None), Proof("alice")),
        (PASSWORDS, ("alice", b"wonderland", None), Proof("alice")),
        (PASSWORDS, ("alice", b"x", None), BAD),
        (PASSWORDS, ("alice", None, None), BAD),
        (PASSWORDS, ("bob", b"wonderland", None), BAD),
        (PASSWORDS, (None, None, None), NOBODY),
        (PASSWORDS, (None, None, "cn"), NOBODY),
        (PASSWORDS + "mqtt.allow_anonymous = true", (None, None, None), Proof(None)),
        (PASSWORDS + "mqtt.allow_anonymous = true", ("alice", b"x", None), BAD),
        ("mqtt.allow_anonymous = false", ("alice", b"x", None), NOBODY),
        (CERTIFICATES, ("alice", None, "cn"), Proof("cn")),
        (CERTIFICATES, ("alice", b"x", None), NOBODY),
        (PASSWORDS + LINKS, ("link-b", b"wonderland", None), Proof("link-b", "b")),
        (PASSWORDS + LINKS, ("alice", b"wonderland", None), Proof("alice")),
        (PASSWORDS + LINKS, ("alice", b"wonderland", "cn-b"), Proof("alice", "b")),
        (
            CERTIFICATES + LINKS.replace("usernames = [link-b],", ""),
            (None, None, "cn-b"),
            Proof("cn-b", "b"),
        ),
    ],
)
async def test_identity(
    tmp_path: Path, verifier: Verifier, text: str, said: tuple[Any, ...], expected: Outcome
) -> None:
    these = settings(tmp_path, text)
    them = Authentication(these, load_users(these), verifier)
    assert await outcome(them, *said) == expected


async def test_a_name_that_nobody_proved_is_no_link(tmp_path: Path, verifier: Verifier) -> None:
    these = settings(tmp_path, "mqtt.allow_anonymous = false\n" + LINKS)
    opened = these.model_copy(
        update={"mqtt": these.mqtt.model_copy(update={"allow_anonymous": True})}
    )
    them = Authentication(opened, [], verifier)
    assert await outcome(them, "link-b", None, None) == Proof("link-b")


async def test_a_right_password_is_recognised_until_it_changes(verifier: Verifier) -> None:
    known = [Users({"alice": ALICE})]
    answers: asyncio.Queue[bool] = asyncio.Queue()
    assert verifier.verify(known, "alice", b"wonderland", answers.put_nowait)
    assert await asyncio.wait_for(answers.get(), 10)
    assert verifier.verify(known, "alice", b"wonderland", answers.put_nowait)
    assert answers.get_nowait()  # At once.
    assert verifier.verify(known, "alice", b"wrong", answers.put_nowait)
    assert not await asyncio.wait_for(answers.get(), 10)
    changed = [Users({"alice": hash_password(b"other")})]
    assert verifier.verify(changed, "alice", b"wonderland", answers.put_nowait)
    assert not await asyncio.wait_for(answers.get(), 10)


async def test_too_many_waiting_are_refused() -> None:
    verifier = Verifier(threads=1, max_waiting=2)
    answers: asyncio.Queue[bool] = asyncio.Queue()
    known = [Users({"alice": ALICE})]
    taken = [verifier.verify(known, "alice", b"%d" % n, answers.put_nowait) for n in range(4)]
    assert taken == [True, True, False, False]
    for _ in range(2):
        assert not await asyncio.wait_for(answers.get(), 10)
    assert verifier.verify(known, "alice", b"x", answers.put_nowait)
    assert not await asyncio.wait_for(answers.get(), 10)
    verifier.close()


def test_every_mistake_of_the_files_is_told(tmp_path: Path) -> None:
    these = settings(tmp_path, PASSWORDS)
    (tmp_path / "users").write_text("x\ny\n")
    with pytest.raises(ConfigurationError) as caught:
        load_users(these)
    assert [mistake.line for mistake in caught.value.mistakes] == [1, 2]
