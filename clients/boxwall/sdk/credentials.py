"""The files of a client: for TLS, read when a connection is opened; of its token, for each call."""

from dataclasses import dataclass, field
from pathlib import Path

from boxwall.sdk.endpoint import SYSTEM_ROOTS, Endpoint, check_token
from boxwall.sdk.errors import BadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Contents of the files, in PEM. Its repr shows none of them."""

    roots: bytes | None = field(repr=False)
    """None: those of this machine."""
    certificate: bytes | None = field(repr=False)
    key: bytes | None = field(repr=False)


def read_credentials(endpoint: Endpoint) -> Credentials | None:
    """Read what an endpoint names. None: plaintext. Raises BadConfig."""
    if endpoint.ca is None:
        return None
    roots = None
    if endpoint.ca != SYSTEM_ROOTS:
        roots = _read(endpoint.ca, "CA", b"-----BEGIN CERTIFICATE-----", "certificate")
    if endpoint.cert is None or endpoint.key is None:
        return Credentials(roots=roots, certificate=None, key=None)
    return Credentials(
        roots=roots,
        certificate=_read(
            endpoint.cert, "certificate", b"-----BEGIN CERTIFICATE-----", "certificate"
        ),
        key=_read(endpoint.key, "key", b"PRIVATE KEY-----", "private key"),
    )


def read_token(endpoint: Endpoint) -> str | None:
    """Return the token of an endpoint; from its file as it is now. None: it has none.

    Raises BadConfig, which never shows what is in the file.
    """
    if endpoint.token_file is None:
        return endpoint.token
    path = endpoint.token_file
    try:
        token = Path(path).read_bytes().decode("latin-1").strip()
    except OSError as exc:
        raise BadConfig(f"the token file {path} cannot be read: {exc.strerror}") from exc
    if not token:
        raise BadConfig(f"the token file {path} is empty")
    check_token(token)
    return token


def _read(path: str, what: str, marker: bytes, holds: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as exc:
        raise BadConfig(f"the {what} file {path} cannot be read: {exc.strerror}") from exc
    if marker not in content:
        raise BadConfig(f"the {what} file {path} has no PEM {holds} in it")
    return content
