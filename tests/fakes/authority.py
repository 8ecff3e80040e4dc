"""Certificate authorities for tests, which also issue what nobody should."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)  # TLS itself asks the machine's clock
DAY = datetime.timedelta(days=1)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate."""
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA256()).hex()

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both; return the paths of the certificate and of the key."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


class Authority:
    """One CA."""

    def __init__(self, name: str = "test CA") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._name, self._key.public_key(), NOW - DAY, NOW + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(
        self,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        begins: datetime.datetime = NOW - DAY,
        expires: datetime.datetime = NOW + DAY,
        usage: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        self_signed: bool = False,
    ) -> Issued:
        """Issue whatever is asked for."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issued")])
        issuer = subject if self_signed else self._name
        builder = _builder(subject, issuer, key.public_key(), begins, expires)
        names = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns),
            *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips),
        ]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), False)
        signed = builder.sign(key if self_signed else self._key, hashes.SHA256())
        return Issued(
            signed.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def server(self, **more: object) -> Issued:
        """Issue what a server on this machine needs."""
        return self.issue(dns=["localhost"], ips=["127.0.0.1"], usage=[SERVER], **more)  # type: ignore[arg-type]  # as `issue`

    def node(self, node_id: str = "n1", tenant: str = "default", **more: object) -> Issued:
        """Issue what a node needs."""
        uri = f"spiffe://boxwall/tenant/{tenant}/node/{node_id}"
        return self.issue(uris=[uri], **more)  # type: ignore[arg-type]  # as `issue`


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: datetime.datetime,
    expires: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(expires)
    )
