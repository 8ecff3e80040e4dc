"""From a certificate that TLS has verified to the node it names. Pure.

The node's id is in one of two names of the certificate:

    URI  spiffe://TRUST-DOMAIN/tenant/TENANT/node/ID, or without /tenant/TENANT for "default"
    DNS  ID.node.TRUST-DOMAIN, of the tenant "default"; only if there is no URI at all

Exactly one name may do so. A certificate that names no node identifies nobody: it opens a
connection, and a token must say who calls.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.caller import DEFAULT_TENANT, Caller, Scope, is_node_id, is_tenant

DEFAULT_TRUST_DOMAIN: Final = "boxwall"
_TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?", re.ASCII)
_NODE_PATH = re.compile(r"(?:/tenant/(?P<tenant>[^/]+))?/node/(?P<node>[^/]+)", re.ASCII)
_MAX_PEM: Final = 64 * 1024
_UNREADABLE: Final = (
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class NotANode(ValueError):
    """The certificate does not name a node of the trust domain. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateNames:
    """What matters of a certificate."""

    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    begins: Timestamp
    expires: Timestamp
    is_for_clients: bool = False
    fingerprint: str
    """SHA-256 of the whole, in hexadecimal."""


def is_trust_domain(text: str) -> bool:
    """Return whether a text can name a trust domain."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def names_of(pem: bytes) -> CertificateNames:
    """Read a certificate. Raises NotANode for what cannot be read."""
    if len(pem) > _MAX_PEM:
        raise NotANode("the certificate is too large")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        alternative = _alternative_names(certificate)
        return CertificateNames(
            uris=tuple(alternative.get_values_for_type(x509.UniformResourceIdentifier)),
            dns=tuple(alternative.get_values_for_type(x509.DNSName)),
            begins=Timestamp(round(certificate.not_valid_before_utc.timestamp() * 1_000_000)),
            expires=Timestamp(round(certificate.not_valid_after_utc.timestamp() * 1_000_000)),
            is_for_clients=_is_for_clients(certificate),
            fingerprint=sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        )
    except _UNREADABLE as exc:
        raise NotANode("the certificate cannot be read") from exc


def node_caller(names: CertificateNames, trust_domain: str, now: Timestamp) -> Caller:
    """Return the node that a certificate names. Raises NotANode."""
    if not names.begins <= now < names.expires:
        raise NotANode("the certificate is not valid at this time")
    if not names.is_for_clients:
        raise NotANode("the certificate is not for clients")
    found = _by_uri(names.uris, trust_domain) if names.uris else _by_dns(names.dns, trust_domain)
    if len(found) != 1:
        raise NotANode("the certificate names no node, or several")
    tenant, node_id = found[0]
    if not is_tenant(tenant) or not is_node_id(node_id):
        raise NotANode("the certificate names a node that cannot be")
    return Caller(
        tenant=tenant,
        name=f"node/{node_id}",
        scopes=frozenset({Scope.ENFORCE}),
        node_id=node_id,
        expires=names.expires,
        by_certificate=True,
        credential=names.fingerprint,
    )


def node_uri(trust_domain: str, tenant: str, node_id: str) -> str:
    """Return the name of a node in its certificate."""
    return f"spiffe://{trust_domain}/tenant/{tenant}/node/{node_id}"


def _by_uri(uris: tuple[str, ...], trust_domain: str) -> list[tuple[str, str]]:
    """Return (tenant, node). SPIFFE: a certificate has one URI; more than one identify nobody."""
    prefix = f"spiffe://{trust_domain}"
    if len(uris) != 1 or not uris[0].startswith(f"{prefix}/"):
        return []
    match = _NODE_PATH.fullmatch(uris[0].removeprefix(prefix))
    return [] if match is None else [(match["tenant"] or DEFAULT_TENANT, match["node"])]


def _by_dns(names: tuple[str, ...], trust_domain: str) -> list[tuple[str, str]]:
    suffix = f".node.{trust_domain}"
    return [(DEFAULT_TENANT, name.removesuffix(suffix)) for name in names if name.endswith(suffix)]


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _is_for_clients(certificate: x509.Certificate) -> bool:
    """RFC 5280 section 4.2.1.12: without the extension it is for anything."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage
