"""Certificates: what signs what, what it is good for, and when it is time for new ones."""

from __future__ import annotations

import contextlib
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import verification

from isthmus_broker.auth import users
from isthmus_operator import passwords, pki
from rendered import NOW

AUTHORITY = pki.new_authority("us", NOW)
SERVER = pki.issue(
    AUTHORITY, common_name="a.internal", dns_names=["a.internal"], server=True, now=NOW
)
CLIENT = pki.issue(AUTHORITY, common_name="clink-1", client=True, now=NOW)


def test_a_server_certificate_is_good_for_its_name_only() -> None:
    store = verification.Store(x509.load_pem_x509_certificates(AUTHORITY.certificate))
    found = x509.load_pem_x509_certificate(SERVER.certificate)
    builder = verification.PolicyBuilder().store(store).time(NOW)
    builder.build_server_verifier(x509.DNSName("a.internal")).verify(found, [])
    with pytest.raises(verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("b.internal")).verify(found, [])


def test_names_and_signers_are_told() -> None:
    assert pki.common_name(CLIENT.certificate) == "clink-1"
    assert pki.dns_names(SERVER.certificate) == ("a.internal",)
    assert pki.dns_names(CLIENT.certificate) == ()
    assert pki.signed_by(CLIENT.certificate, AUTHORITY.certificate)
    assert not pki.signed_by(CLIENT.certificate, pki.new_authority("us", NOW).certificate)
    assert not pki.signed_by(b"no certificate", AUTHORITY.certificate)


def test_during_a_change_of_authority_both_are_trusted() -> None:
    other = pki.new_authority("us", NOW)
    both = pki.bundle(other.certificate, AUTHORITY.certificate, b"", other.certificate)
    assert both.count(b"BEGIN CERTIFICATE") == 2
    renewed = pki.issue(other, common_name="clink-1", client=True, now=NOW)
    assert pki.signed_by(CLIENT.certificate, both)
    assert pki.signed_by(renewed.certificate, both)


@pytest.mark.parametrize("newest_first", [True, False])
def test_during_a_change_of_authority_ends_meet_by_tls(newest_first: bool, tmp_path: Path) -> None:
    """Both authorities have the same name, and each has signed one end; rules are strict."""
    old, new = pki.new_authority("us", NOW), pki.new_authority("us", NOW)
    authorities = (new, old) if newest_first else (old, new)
    trusted = pki.bundle(*(one.certificate for one in authorities))
    server = pki.issue(
        old, common_name="a.internal", dns_names=["a.internal"], server=True, now=NOW
    )
    client = pki.issue(new, common_name="clink-1", client=True, now=NOW)

    def context(protocol: int, pair: pki.Pair) -> ssl.SSLContext:
        file = tmp_path / "pair.pem"
        file.write_bytes(pair.certificate + pair.key)
        found = ssl.SSLContext(protocol)
        found.load_cert_chain(file)
        found.load_verify_locations(cadata=trusted.decode())
        found.verify_mode = ssl.CERT_REQUIRED
        found.verify_flags |= ssl.VERIFY_X509_STRICT
        return found

    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = context(ssl.PROTOCOL_TLS_CLIENT, client)
    here = context(ssl.PROTOCOL_TLS_SERVER, server)
    ends = (
        there.wrap_bio(down, up, server_hostname="a.internal"),
        here.wrap_bio(up, down, server_side=True),
    )
    for end in ends * 4:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    shown = ends[1].getpeercert()
    assert shown is not None
    assert shown["subject"] == ((("commonName", "clink-1"),),)


@pytest.mark.parametrize(
    ("after", "due"),
    [(timedelta(days=0), False), (timedelta(days=59), False), (timedelta(days=61), True)],
)
def test_it_is_time_for_a_new_one_after_two_thirds(after: timedelta, due: bool) -> None:
    assert pki.due(SERVER.certificate, NOW + after) is due


def test_what_can_not_be_read_is_due() -> None:
    assert pki.due(b"", NOW)


def test_keys_stay_out_of_representations() -> None:
    assert "PRIVATE" not in repr(AUTHORITY)


def test_the_broker_knows_the_hashes() -> None:
    password = passwords.new_password()
    known = users.parse(f"clink-1:{passwords.scrypt_hash(password)}\n")
    assert known.verify("clink-1", password.encode())
    assert not known.verify("clink-1", b"another")
