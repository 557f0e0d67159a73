"""TLS contexts: versions, verification, damaged files, names in certificates."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from isthmus_broker.errors import ConfigurationError
from isthmus_broker.net.tls import client_context, common_name, server_context, server_name
from isthmus_broker.settings import ClientTls, ServerTls
from isthmus_broker.settings.values import Context


@pytest.fixture(name="pki", scope="module")
def _pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster-eu-west")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("broker.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    for file, guard in (
        ("key.pem", serialization.NoEncryption()),
        ("locked.pem", serialization.BestAvailableEncryption(b"secret")),
    ):
        (directory / file).write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, guard)
        )
    (directory / "junk.pem").write_text("junk")
    return directory


def server(pki: Path, **options: Any) -> ServerTls:
    given = {"certfile": "cert.pem", "keyfile": "key.pem", **options}
    return ServerTls.model_validate(given, context=Context(pki))


def client(pki: Path, **options: Any) -> ClientTls:
    return ClientTls.model_validate(options, context=Context(pki))


def shake(
    one: ssl.SSLContext, other: ssl.SSLContext, name: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands in memory; raises what TLS raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = one.wrap_bio(to_server, to_client, server_side=True)
    asking = other.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(10):
        for side in (asking, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return serving, asking


def test_mutual_tls(pki: Path) -> None:
    listener = server_context(
        server(pki, cacertfile="cert.pem", verify="verify_peer", fail_if_no_peer_cert=True)
    )
    link = client_context(
        client(pki, cacertfile="cert.pem", certfile="cert.pem", keyfile="key.pem")
    )
    serving, asking = shake(listener, link, "broker.test")
    assert asking.version() == "TLSv1.3"
    certificate: Any = serving.getpeercert()
    assert common_name(certificate) == "cluster-eu-west"


def test_without_certificate(pki: Path) -> None:
    optional = server_context(server(pki, cacertfile="cert.pem", verify="verify_peer"))
    serving, _ = shake(optional, client_context(client(pki, cacertfile="cert.pem")), "broker.test")
    certificate: Any = serving.getpeercert()
    assert common_name(certificate) is None


@pytest.mark.parametrize(
    ("options", "name", "trusted"),
    [
        ({"cacertfile": "cert.pem"}, "broker.test", True),
        ({"cacertfile": "cert.pem"}, "other.test", False),
        ({"cacertfile": "cert.pem", "server_name_indication": "disable"}, "other.test", True),
        ({}, "broker.test", False),
        ({"verify": "verify_none"}, "other.test", True),
    ],
)
def test_whom_a_link_trusts(pki: Path, options: dict[str, Any], name: str, trusted: bool) -> None:
    these = client(pki, **options)
    contexts = server_context(server(pki)), client_context(these)
    if trusted:
        shake(*contexts, server_name(these, name))
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(*contexts, server_name(these, name))


def test_versions(pki: Path) -> None:
    context = server_context(server(pki))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    old = client_context(client(pki, cacertfile="cert.pem", versions=["tlsv1.2"]))
    assert shake(context, old, "broker.test")[1].version() == "TLSv1.2"


def test_a_locked_key_needs_its_password(pki: Path) -> None:
    server_context(server(pki, keyfile="locked.pem", password="secret"))
    for wrong in ({}, {"password": "wrong"}):
        with pytest.raises(ConfigurationError) as caught:
            server_context(server(pki, keyfile="locked.pem", **wrong))
        assert caught.value.mistakes[0].key == "certfile"


@pytest.mark.parametrize(
    ("options", "key"),
    [({"certfile": "junk.pem"}, "certfile"), ({"cacertfile": "junk.pem"}, "cacertfile")],
)
def test_damaged_files(pki: Path, options: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"junk\.pem") as caught:
        server_context(server(pki, **options))
    assert caught.value.mistakes[0].key == key


def test_the_name_to_expect(pki: Path) -> None:
    assert server_name(client(pki), "h") == "h"
    assert server_name(client(pki, server_name_indication="n"), "h") == "n"
    assert server_name(client(pki, server_name_indication="disable"), "h") == "h"
