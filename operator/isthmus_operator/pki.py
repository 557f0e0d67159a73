"""Certificates: authorities of broker clusters, and what they sign. Pure: the time is an argument.

An authority signs the server certificate of its own cluster's link listener and the client
certificates of those who may come in there. It lasts ten years, what it signs ninety days; both are
renewed when two thirds of that are gone, while the old ones still hold. Where they are kept is left
to `reconcile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
LIFETIME: Final = timedelta(days=90)
_BACKDATED: Final = timedelta(hours=1)
"""Clocks differ: what is signed now already holds for somebody who is behind."""
_RENEWED_AT: Final = 2 / 3


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both PEM; the certificate comes first in a chain."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair(...)"  # keys stay out of logs


def new_authority(common_name: str, now: datetime) -> Pair:
    """Make an authority that may sign certificates of ends, not further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    usage = _usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
    builder = (
        _builder(name, name, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Pair,
    *,
    common_name: str,
    dns_names: Sequence[str] = (),
    client: bool = False,
    server: bool = False,
    now: datetime,
    lifetime: timedelta = LIFETIME,
) -> Pair:
    """Make a key, and a certificate for it; `common_name` has 64 characters at most."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = _load_key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    wanted = ((client, ExtendedKeyUsageOID.CLIENT_AUTH), (server, ExtendedKeyUsageOID.SERVER_AUTH))
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(_name(common_name), issuer.subject, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([oid for on, oid in wanted if on]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    )
    if dns_names:
        names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
        builder = builder.add_extension(names, critical=False)
    return _pair(builder.sign(signer, hashes.SHA256()), key)


def expires(pem: bytes) -> datetime:
    """When the first certificate of `pem` ends.

    Raises:
        ValueError: there is no certificate in it.
    """
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def due(pem: bytes, now: datetime) -> bool:
    """Whether it is time for a new one: two thirds of its life are gone, or it can't be read."""
    try:
        found = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return True
    life = found.not_valid_after_utc - found.not_valid_before_utc
    return now >= found.not_valid_before_utc + life * _RENEWED_AT


def common_name(pem: bytes) -> str:
    """Common name of the first certificate of `pem`; empty where it has none.

    Raises:
        ValueError: there is no certificate in it.
    """
    found = x509.load_pem_x509_certificate(pem)
    named = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(named[0].value) if named else ""


def dns_names(pem: bytes) -> tuple[str, ...]:
    """Names of the first certificate of `pem`."""
    found = x509.load_pem_x509_certificate(pem)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))


def signed_by(pem: bytes, authority: bytes) -> bool:
    """Whether the first certificate of `pem` is signed by one of those in `authority`."""
    try:
        found = x509.load_pem_x509_certificate(pem)
        issuers = x509.load_pem_x509_certificates(authority)
    except ValueError:
        return False
    return any(_signed(found, issuer) for issuer in issuers)


def bundle(*pems: bytes) -> bytes:
    """Certificates one after another, each once; empty ones are left out."""
    unique = dict.fromkeys(pem.strip() for pem in pems if pem.strip())
    return b"".join(pem + b"\n" for pem in unique)


def _signed(found: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        found.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(
    *, digital_signature: bool, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("expected a key of an elliptic curve")
    return key
