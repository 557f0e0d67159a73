"""A kubeconfig as an `Access`: strictly, above all one that a user has put into a Secret.

It says who connects where, and nothing else: what would run a program or read a file of the
operator's is refused. Texts of errors name keys and entries, and quote nothing else: the rest may
be a credential.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from isthmus_operator.access import Access
from isthmus_operator.errors import ResourceError

REASON: Final = "KubeconfigInvalid"
_PLUGINS: Final = ("exec", "auth-provider")
_PATHS: Final = {
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
    "tokenFile": "token",
}
_IMPERSONATION: Final = ("as", "as-uid", "as-groups", "as-user-extra")
_LIMIT: Final = 512 * 1024
_HINT: Final = "see docs/operator.md for one that is made for a ServiceAccount"

Map = dict[str, Any]


def of_secret(content: bytes) -> Access:
    """From a kubeconfig that a user has put into a Secret.

    Raises:
        ResourceError: with the reason `KubeconfigInvalid`, what was expected and what came.
    """
    return _parsed(content, None)


def of_file(path: Path) -> Access:
    """From a kubeconfig on this machine, which may name files.

    Raises:
        ResourceError: as `of_secret`.
        OSError: it, or a file that it names, can't be read.
    """
    return _parsed(path.read_bytes(), path.parent)


def _parsed(content: bytes, folder: Path | None) -> Access:
    document = _document(content)
    context = _named(document, "contexts", "context", _current(document))
    cluster = _named(document, "clusters", "cluster", _text(context, "cluster", "its context"))
    user = _named(document, "users", "user", _text(context, "user", "its context"))
    _refuse_plugins(user)
    cluster, user = _with_files(cluster, folder), _with_files(user, folder)
    return replace(_server(cluster), **_credentials(user))


def _wrong(message: str) -> ResourceError:
    return ResourceError(REASON, f"the kubeconfig can't be used: {message}; {_HINT}")


def _document(content: bytes) -> Map:
    if len(content) > _LIMIT:
        raise _wrong(f"expected at most {_LIMIT} bytes; it has {len(content)}")
    try:
        # Text for every scalar: no dates, numbers or objects to be surprised by.
        found = yaml.load(content.decode(), Loader=yaml.BaseLoader)  # noqa: S506 - makes text only
    except UnicodeDecodeError as error:
        raise _wrong(f"expected text in UTF-8; byte {error.start} is none") from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise _wrong(f"expected YAML; there is a mistake{line}") from None  # it quotes the text
    except (yaml.YAMLError, RecursionError):
        raise _wrong("expected YAML; it is not") from None
    if not isinstance(found, dict):
        raise _wrong(
            f"expected a mapping with clusters, users and contexts; it is {_kind(found)}."
            " Put a whole kubeconfig file into this key of the Secret"
        )
    return found


def _kind(value: object) -> str:
    if not value:
        return "empty"
    return (
        "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "text"
    )


def _current(document: Map) -> str:
    name = document.get("current-context")
    if not isinstance(name, str) or not name:
        known = ", ".join(_names(document, "contexts")) or "none"
        raise _wrong(f"expected current-context to name one of its contexts ({known}); not set")
    return name


def _names(document: Map, section: str) -> list[str]:
    entries = document.get(section)
    if not isinstance(entries, list):
        return []
    return [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]


def _named(document: Map, section: str, key: str, name: str) -> Map:
    """The entry of that name; names are no secrets, and shown."""
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(key)
            if not isinstance(found, dict):
                raise _wrong(
                    f"expected a mapping as the {key} {name!r} in {section}; it is {_kind(found)}"
                )
            return found
    known = ", ".join(_names(document, section)) or "none"
    raise _wrong(f"expected a {key} {name!r} in {section}; there is: {known}")


def _text(part: Map, key: str, where: str, *, required: bool = True) -> str:
    found = part.get(key, "")
    if not isinstance(found, str):
        raise _wrong(f"expected text as {key} of {where}; it is {_kind(found)}")
    if required and not found:
        raise _wrong(f"expected {key} in {where}; not set")
    return found


def _refuse_plugins(user: Map) -> None:
    for plugin in _PLUGINS:
        if plugin in user:
            raise _wrong(
                f"expected a token or a client certificate; its user has {plugin}, which would run"
                " a program in the operator. Make a ServiceAccount there, and use its token"
            )
    for key in _IMPERSONATION:
        if key in user:
            raise _wrong(f"expected a user of its own; it has {key!r} (impersonation)")


def _with_files(part: Map, folder: Path | None) -> Map:
    """With the content of the files that it names, where it may name any."""
    found = dict(part)
    for key, instead in _PATHS.items():
        if not part.get(key):
            continue
        if folder is None:
            raise _wrong(
                f"expected {instead}; it has {key}, a file that is not here. `kubectl config view"
                " --raw --flatten --minify` writes one that holds everything"
            )
        content = (folder / _text(part, key, "its cluster or user")).read_bytes()
        plain = instead == "token"
        found.setdefault(instead, content.decode() if plain else base64.b64encode(content).decode())
    return found


def _server(cluster: Map) -> Access:
    where = "its cluster"
    server = _url(_text(cluster, "server", where), "server", ("https",))
    proxy = _text(cluster, "proxy-url", where, required=False)
    if proxy:
        _url(proxy, "proxy-url", ("http", "https"))
    insecure = _text(cluster, "insecure-skip-tls-verify", where, required=False) or "false"
    if insecure not in ("true", "false"):
        raise _wrong("expected true or false as insecure-skip-tls-verify of its cluster")
    ca = _pem(cluster, "certificate-authority-data", "CERTIFICATE")
    if ca:
        try:
            load_pem_x509_certificates(ca.encode())
        except ValueError:
            raise _wrong("expected certificates in certificate-authority-data; broken") from None
    if ca and insecure == "true":
        raise _wrong(
            "expected certificate-authority-data or insecure-skip-tls-verify; its cluster has both"
        )
    return Access(
        server=server,
        ca=ca,
        verify=insecure == "false",
        server_name=_text(cluster, "tls-server-name", where, required=False),
        proxy=proxy,
    )


def _url(text: str, key: str, schemes: tuple[str, ...]) -> str:
    expected = f"{key} as {' or '.join(schemes)}://HOST:PORT"
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - looks at it
    except ValueError:
        raise _wrong(f"expected {expected}; it is no URL") from None
    if parts.scheme not in schemes or not parts.hostname:
        shown = f"{parts.scheme}://" if parts.scheme and parts.hostname else "no such URL"
        raise _wrong(f"expected {expected}; it is {shown}")
    if parts.query or parts.fragment or (key == "server" and "@" in parts.netloc):
        raise _wrong(f"expected {expected}, without user, query and fragment")
    return text.rstrip("/")


def _credentials(user: Map) -> Map:
    where = "its user"
    certificate = _pem(user, "client-certificate-data", "CERTIFICATE")
    key = _pem(user, "client-key-data", "PRIVATE KEY")
    if bool(certificate) != bool(key):
        lacking = "client-key-data" if certificate else "client-certificate-data"
        raise _wrong(f"expected {lacking} in its user, beside the other one; not set")
    token = _text(user, "token", where, required=False).strip()
    name = _text(user, "username", where, required=False)
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise _wrong("expected a token of printable characters without spaces in its user")
    if not (token or certificate or name):
        raise _wrong(
            "expected token, or client-certificate-data and client-key-data in its user;"
            f" it has: {', '.join(map(str, user)) or 'nothing'}"
        )
    pair = f"{name}:{_text(user, 'password', where)}" if name else ""
    basic = base64.b64encode(pair.encode()).decode() if name and not token else ""
    _check_pair(certificate, key)
    return {
        "certificate": certificate.encode(),
        "key": key.encode(),
        "token": token,
        "basic": basic,
    }


def _check_pair(certificate: str, key: str) -> None:
    if not certificate:
        return
    try:
        first = load_pem_x509_certificates(certificate.encode())[0]
    except ValueError:
        raise _wrong("expected a certificate in client-certificate-data; it is broken") from None
    try:
        private = load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _wrong(
            "expected a private key without a password in client-key-data; it is none"
        ) from None
    if private.public_key() != first.public_key():
        raise _wrong("expected client-key-data to belong to client-certificate-data; it does not")


def _pem(part: Map, key: str, label: str) -> str:
    """Content of a `-data` key: base64 of PEM."""
    text = _text(part, key, "its cluster or user", required=False)
    if not text:
        return ""
    try:
        found = base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise _wrong(f"expected base64 of PEM as {key}; it is none") from None
    if "-----BEGIN " not in found or f"{label}-----" not in found:
        raise _wrong(f"expected PEM with a {label} as {key}; it has none")
    return found
