"""The server's side of TLS: its certificate, its key, whom it believes about clients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from boxwall_server.changes.change import Timestamp
from boxwall_server.clock import Clock
from boxwall_server.config import Security
from boxwall_server.files import BadFile, Kept, NotYet
from boxwall_server.metrics import Metrics


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The contents of the files, checked to belong together."""

    configuration: grpc.ServerCertificateConfiguration
    expires: Timestamp


class ServerTls:
    """What the server proves itself with, as the files last were good.

    Who connects after a change gets the new certificate; open connections go on undisturbed.
    """

    def __init__(self, security: Security, clock: Clock, metrics: Metrics) -> None:
        """Raises BadConfig if the files cannot be used."""
        assert security.tls_cert is not None
        assert security.tls_key is not None
        paths = [security.tls_cert, security.tls_key]
        self._asks_clients = security.client_ca is not None
        if security.client_ca is not None:
            paths.append(security.client_ca)
        self._metrics = metrics
        self.files = Kept("tls", paths, _reader(paths, clock), metrics)
        self._given = self.files.value
        self.say_expiry()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is bound with."""
        return grpc.dynamic_ssl_server_credentials(
            self._given.configuration,
            self._fresh,  # type: ignore[arg-type]  # the stub forgets None: no change
            self._asks_clients,
        )

    def say_expiry(self) -> None:
        """Show in the metrics when the certificate expires."""
        self._metrics.certificate_expires.set(self.files.value.expires / 1e6)

    def _fresh(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is new since the last connection. gRPC asks on a thread of its own."""
        current = self.files.value
        if current is self._given:
            return None
        self._given = current
        return current.configuration


def _reader(paths: list[Path], clock: Clock) -> Callable[..., TlsFiles]:
    return partial(read_tls, names=tuple(map(str, paths)), clock=clock)


def read_tls(
    chain: bytes,
    key: bytes,
    client_ca: bytes | None = None,
    *,
    names: tuple[str, ...] = ("the certificate", "the key", "the CA"),
    clock: Clock,
) -> TlsFiles:
    """Check that the contents can serve together now. Raises BadFile; never shows the key."""
    leaf = _certificates(chain, names[0])[0]
    _check_key(leaf, key, names[1])
    now = clock.now()
    begins, expires = (
        Timestamp(round(time.timestamp() * 1_000_000))
        for time in (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    )
    if now >= expires:
        raise BadFile(f"{names[0]} expired at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    if now < begins:
        raise NotYet(f"{names[0]} is not valid yet: {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}")
    if client_ca is not None:
        _certificates(client_ca, names[2])
    configuration = grpc.ssl_server_certificate_configuration(
        [(key, chain)], root_certificates=client_ca
    )
    return TlsFiles(configuration, expires)


def _certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise BadFile(f"{name} holds no certificate in PEM that can be read") from None


def _check_key(leaf: x509.Certificate, pem: bytes, name: str) -> None:
    try:
        public = load_pem_private_key(pem, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadFile(f"{name} holds no private key in PEM without a passphrase") from None
    if _bytes_of(public) != _bytes_of(leaf.public_key()):
        raise BadFile(f"{name} is not the key of the certificate")


def _bytes_of(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every kind of public key
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded
