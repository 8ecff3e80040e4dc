"""A private certificate authority for small installations: what it issues, and for whom.

Keys are P-256. The authority carries its trust domain as a SPIFFE id, signs no other authority, and
gives every certificate one use: those of servers open no connection, those of nodes and clients
serve none.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEFAULT_TRUST_DOMAIN: Final = "boxwall"
BACKDATED: Final = timedelta(minutes=5)
"""So that machines whose clocks lag accept a new certificate."""

_SPIFFE: Final = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class CannotIssue(ValueError):
    """It cannot be made; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate and its private key, in PEM. The repr does not show the key."""

    certificate: bytes
    key: bytes = field(repr=False)
    fingerprint: str
    """SHA-256, in hexadecimal."""
    expires: datetime
    names: tuple[str, ...]


class Authority:
    """Who signs."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """For `read_authority`."""
        self._certificate = certificate
        self._key = key
        self.trust_domain = _trust_domain_of(certificate)

    def server(self, hosts: Sequence[str], now: datetime, lasts: timedelta) -> Issued:
        """Issue a certificate for a server that clients call by any of `hosts`."""
        if not hosts:
            raise CannotIssue("name at least one host that clients connect to")
        names = [_host(host) for host in hosts]
        return self._issue(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, now, lasts)

    def node(self, tenant: str, node_id: str, now: datetime, lasts: timedelta) -> Issued:
        """Issue a certificate that names a node."""
        return self._client(tenant, "node", node_id, now, lasts)

    def client(self, tenant: str, name: str, now: datetime, lasts: timedelta) -> Issued:
        """Issue a certificate that opens a connection. What it may do there, a token says."""
        return self._client(tenant, "client", name, now, lasts)

    def _client(self, tenant: str, kind: str, name: str, now: datetime, lasts: timedelta) -> Issued:
        if _TENANT.fullmatch(tenant) is None:
            raise CannotIssue(f'{tenant!a} is no tenant; use 1 to 63 of a-z, 0-9 and "-"')
        if _SEGMENT.fullmatch(name) is None:
            raise CannotIssue(f'{name!a} is no id; use 1 to 253 of letters, digits, "-", "_", "."')
        uri = f"{_SPIFFE}{self.trust_domain}/tenant/{tenant}/{kind}/{name}"
        names = [x509.UniformResourceIdentifier(uri)]
        return self._issue(name, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, lasts)

    def _issue(
        self,
        subject: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
        lasts: timedelta,
    ) -> Issued:
        expires = min(now + lasts, self._certificate.not_valid_after_utc)
        if expires <= now:
            raise CannotIssue("the authority has expired; make a new one with boxwall certs init")
        key = ec.generate_private_key(ec.SECP256R1())
        authority_key = self._key.public_key()
        builder = (
            _builder(subject, self._certificate.subject, key, now, expires)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False
            )
        )
        return _issued(builder.sign(self._key, hashes.SHA256()), key)


def new_authority(trust_domain: str, now: datetime, lasts: timedelta) -> Issued:
    """Make an authority. Raises CannotIssue."""
    if _TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise CannotIssue(f"{trust_domain!a} is no trust domain, such as boxwall or boxes.example")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = f"Boxwall CA of {trust_domain}"[:64]
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    uri = x509.UniformResourceIdentifier(f"{_SPIFFE}{trust_domain}")
    builder = (
        _builder(subject, issuer, key, now, now + lasts)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _issued(builder.sign(key, hashes.SHA256()), key)


def read_authority(certificate: bytes, key: bytes) -> Authority:
    """Return the authority of what `new_authority` made. Raises CannotIssue."""
    try:
        read = x509.load_pem_x509_certificate(certificate)
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CannotIssue("the CA or its key cannot be read; make them with certs init") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise CannotIssue("the key of the CA is not one that certs init makes")
    if private.public_key() != read.public_key():
        raise CannotIssue("the key is not that of the CA")
    if not _may_sign(read):
        raise CannotIssue(
            "the certificate in its place is not one of a CA: nobody would believe it"
        )
    return Authority(read, private)


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    labels = text.split(".")
    if len(text) > 253 or not all(_SEGMENT.fullmatch(label) for label in labels):
        raise CannotIssue(f"{text!a} is neither a host name nor an IP address")
    return x509.DNSName(text)


def _builder(
    subject: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    expires: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject[:64])]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(expires)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Issued(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        expires=certificate.not_valid_after_utc,
        names=tuple(str(name.value) for name in names),
    )


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _trust_domain_of(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return DEFAULT_TRUST_DOMAIN
    uris = found.get_values_for_type(x509.UniformResourceIdentifier)
    return next(
        (uri.removeprefix(_SPIFFE) for uri in uris if uri.startswith(_SPIFFE)),
        DEFAULT_TRUST_DOMAIN,
    )
