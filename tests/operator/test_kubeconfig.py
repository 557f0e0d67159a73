"""Kubeconfigs that users put into Secrets: what is taken, and what each refusal says."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus_operator import kubeconfig, pki
from isthmus_operator.errors import ResourceError

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_CA = pki.new_authority("test", _NOW)
_PAIR = pki.issue(_CA, common_name="me", dns_names=[], client=True, server=False, now=_NOW)
_OTHER = pki.issue(_CA, common_name="you", dns_names=[], client=True, server=False, now=_NOW)
_SECRET = "swordfish-token"


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


def _config(cluster: Any = None, user: Any = None, **rest: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://c.example:6443"}}],
        "users": [{"name": "u", "user": {"token": _SECRET} if user is None else user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
        **rest,
    }


def _parse(document: Any) -> Any:
    content = document if isinstance(document, bytes) else yaml.safe_dump(document).encode()
    return kubeconfig.of_secret(content)


def test_takes_a_token_and_an_authority() -> None:
    cluster = {
        "server": "https://[fd00::1]:6443/",
        "certificate-authority-data": _data(_CA.certificate),
        "tls-server-name": "inner.example",
    }
    found = _parse(_config(cluster))
    assert found.server == "https://[fd00::1]:6443"
    assert found.ca.encode() == _CA.certificate
    assert (found.token, found.server_name, found.verify) == (_SECRET, "inner.example", True)
    assert _SECRET not in repr(found)


def test_takes_a_client_certificate() -> None:
    user = {
        "client-certificate-data": _data(_PAIR.certificate),
        "client-key-data": _data(_PAIR.key),
    }
    found = _parse(_config(user=user))
    assert (found.certificate, found.key) == (_PAIR.certificate, _PAIR.key)


def test_takes_a_name_and_a_password() -> None:
    found = _parse(_config(user={"username": "me", "password": "pass"}))
    assert base64.b64decode(found.basic) == b"me:pass"


def test_goes_without_verification_only_where_it_says_so() -> None:
    cluster = {"server": "https://c", "insecure-skip-tls-verify": True}
    assert _parse(_config(cluster)).verify is False


def test_takes_numbers_and_dates_as_the_text_that_they_are() -> None:
    text = yaml.safe_dump(_config(user={"token": "T"})).replace("token: T", "token: 0123")
    text += "made: 2026-99-99\n"
    assert _parse(text.encode()).token == "0123"


def test_different_contents_have_different_digests() -> None:
    one = _parse(_config())
    others = [
        _parse(_config(user={"token": "other"})),
        _parse(_config({"server": "https://c.example:6443", "insecure-skip-tls-verify": "true"})),
        _parse(_config({"server": "https://c.example:6443", "tls-server-name": "x"})),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 4
    assert one.digest == _parse(_config()).digest


_HTTPS = {"server": "https://c"}
_CASES = {
    "bytes": (b"\xff\xfe\x00", "text in UTF-8"),
    "no YAML": (b"a: [swordfish-token\nb: }", "mistake in line"),
    "text": (b"swordfish-token", "expected a mapping with clusters, users and contexts"),
    "empty": (b"", "it is empty"),
    "a list": (b"[1]", "it is a list"),
    "deep": (b"[" * 100_000, "expected YAML"),
    "long": (b"#" * 600_000, "at most"),
    "no current context": (_config(**{"current-context": ""}), "one of its contexts (x); not set"),
    "unknown context": (
        _config(**{"current-context": "y"}),
        "context 'y' in contexts; there is: x",
    ),
    "unknown cluster": (_config(clusters=[]), "cluster 'c' in clusters; there is: none"),
    "unknown user": (_config(users="u"), "user 'u' in users; there is: none"),
    "context of text": (_config(contexts=[{"name": "x", "context": "c"}]), "it is text"),
    "no server": (_config({"x": "y"}), "server in its cluster; not set"),
    "list for server": (_config({"server": ["a"]}), "text as server of its cluster; it is a list"),
    "plain HTTP": (_config({"server": "http://c:6443"}), "https://HOST:PORT; it is http://"),
    "no URL": (_config({"server": "c:6443"}), "server as https://HOST:PORT; it is no such URL"),
    "broken URL": (_config({"server": "https://[::1"}), "it is no URL"),
    "bad port": (_config({"server": "https://c:notaport"}), "it is no URL"),
    "user in URL": (_config({"server": "https://a:swordfish-token@c"}), "without user"),
    "authority by file": (
        _config({**_HTTPS, "certificate-authority": "/ca.crt"}),
        "expected certificate-authority-data; it has certificate-authority, a file",
    ),
    "authority not base64": (
        _config({**_HTTPS, "certificate-authority-data": "***"}),
        "expected base64 of PEM as certificate-authority-data",
    ),
    "authority not PEM": (
        _config({**_HTTPS, "certificate-authority-data": _data(b"hello")}),
        "expected PEM with a CERTIFICATE as certificate-authority-data",
    ),
    "authority broken": (
        _config(
            {**_HTTPS, "certificate-authority-data": _data(_CA.certificate.replace(b"M", b"!"))}
        ),
        "certificate-authority-data; broken",
    ),
    "authority and insecure": (
        _config(
            {
                **_HTTPS,
                "certificate-authority-data": _data(_CA.certificate),
                "insecure-skip-tls-verify": True,
            }
        ),
        "its cluster has both",
    ),
    "insecure of words": (
        _config({**_HTTPS, "insecure-skip-tls-verify": "perhaps"}),
        "expected true or false as insecure-skip-tls-verify",
    ),
    "proxy of another kind": (
        _config({**_HTTPS, "proxy-url": "socks5://p:1080"}),
        "proxy-url as http or https://HOST:PORT; it is socks5://",
    ),
    "exec": (_config(user={"exec": {"command": "aws"}}), "its user has exec, which would run"),
    "auth-provider": (_config(user={"auth-provider": {"name": "gcp"}}), "has auth-provider"),
    "impersonation": (_config(user={"token": _SECRET, "as": "root"}), "impersonation"),
    "token by file": (_config(user={"tokenFile": "/t"}), "expected token; it has tokenFile"),
    "key by file": (_config(user={"client-key": "/k"}), "expected client-key-data; it has"),
    "no credentials": (_config(user={"x": "y"}), "in its user; it has: x"),
    "token with a line break": (_config(user={"token": f"{_SECRET}\r\nX: y"}), "printable"),
    "name without password": (_config(user={"username": "me"}), "password in its user; not set"),
    "certificate without key": (
        _config(user={"client-certificate-data": _data(_PAIR.certificate)}),
        "expected client-key-data in its user",
    ),
    "key without certificate": (
        _config(user={"client-key-data": _data(_PAIR.key)}),
        "expected client-certificate-data in its user",
    ),
    "somebody else's key": (
        _config(
            user={
                "client-certificate-data": _data(_PAIR.certificate),
                "client-key-data": _data(_OTHER.key),
            }
        ),
        "expected client-key-data to belong to client-certificate-data",
    ),
    "broken key": (
        _config(
            user={
                "client-certificate-data": _data(_PAIR.certificate),
                "client-key-data": _data(
                    b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----"
                ),
            }
        ),
        "expected a private key without a password",
    ),
}


@pytest.mark.parametrize("case", _CASES)
def test_refuses_and_says_what_was_expected(case: str) -> None:
    document, words = _CASES[case]
    with pytest.raises(ResourceError) as raised:
        _parse(document)
    assert raised.value.reason == "KubeconfigInvalid"
    assert words in raised.value.message
    assert _SECRET not in raised.value.message
    assert raised.value.__cause__ is None or _SECRET not in str(raised.value.__cause__)


def test_one_on_this_machine_may_name_files(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(_CA.certificate)
    (tmp_path / "token").write_text(f"{_SECRET}\n")
    config = _config(
        {"server": "https://c", "certificate-authority": "ca.crt"},
        {"tokenFile": str(tmp_path / "token")},
    )
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    found = kubeconfig.of_file(tmp_path / "config")
    assert (found.ca.encode(), found.token) == (_CA.certificate, _SECRET)
