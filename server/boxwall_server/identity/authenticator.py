"""From what came with a call to who calls. Pure: the time, the tokens and the bytes go in.

1. A call that carries a token is the token's; one that is not good never falls back to anything.
2. Without a token, it is the node's whose certificate opened the connection.
3. Without either, it is nobody's: refused. Only where the operator has set up neither, it is
   anyone's, and then nothing but this machine can connect.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.caller import ANYONE, Caller
from boxwall_server.identity.certificates import (
    CertificateNames,
    NotANode,
    names_of,
    node_caller,
)
from boxwall_server.identity.tokens import TokenTable

_SCHEME = "bearer "


class Flaw(StrEnum):
    """Why a caller is not known: for the operator's log and metrics, not for the caller."""

    NONE_GIVEN = "none_given"
    MALFORMED = "malformed"
    WRONG_TOKEN = "wrong_token"
    WRONG_CERTIFICATE = "wrong_certificate"
    REVOKED = "revoked"


class Unknown(Exception):
    """Nobody is known by these credentials."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


class Authenticator:
    """Knows who calls. `tokens` may be replaced at any time."""

    def __init__(
        self, *, needs_identity: bool, takes_certificates: bool, trust_domain: str
    ) -> None:
        self.tokens = TokenTable()
        self._needs_identity = needs_identity
        self._takes_certificates = takes_certificates
        self._trust_domain = trust_domain

    @property
    def needs_identity(self) -> bool:
        """Whether callers have to say who they are."""
        return self._needs_identity

    def identify(
        self, authorizations: Sequence[str], certificate: bytes | None, now: Timestamp
    ) -> Caller:
        """Return who calls. Raises Unknown.

        `authorizations` are the values of that metadata key; `certificate` is the client's in PEM,
        as verified by TLS.
        """
        if not self._needs_identity:
            return ANYONE
        names = self._names(certificate, now)
        if authorizations:
            caller = self._by_token(authorizations, now)
        elif names is not None:
            caller = self._by_certificate(names, now)
        else:
            raise Unknown(Flaw.NONE_GIVEN)
        if names is None:
            return caller
        return replace(caller, connection=names.fingerprint, connection_expires=names.expires)

    def stands(self, caller: Caller, now: Timestamp) -> bool:
        """Return whether a caller who was identified before still is who it was."""
        if not self._needs_identity:
            return True
        expires = caller.connection_expires
        if caller.connection in self.tokens.revoked or (expires is not None and now >= expires):
            return False
        return caller.by_certificate or self.tokens.stands(caller, now)

    def _by_token(self, authorizations: Sequence[str], now: Timestamp) -> Caller:
        if len(authorizations) != 1 or not authorizations[0].lower().startswith(_SCHEME):
            raise Unknown(Flaw.MALFORMED)
        caller = self.tokens.caller(authorizations[0][len(_SCHEME) :], now)
        if caller is None:
            raise Unknown(Flaw.WRONG_TOKEN)
        return caller

    def _names(self, certificate: bytes | None, now: Timestamp) -> CertificateNames | None:
        """Read the certificate of the connection. One that is revoked, or has expired since it
        opened the connection, spoils it for tokens too.
        """
        if certificate is None or not self._takes_certificates:
            return None
        try:
            names = names_of(certificate)
        except NotANode as exc:
            raise Unknown(Flaw.WRONG_CERTIFICATE) from exc
        if names.fingerprint in self.tokens.revoked:
            raise Unknown(Flaw.REVOKED)
        if now >= names.expires:
            raise Unknown(Flaw.WRONG_CERTIFICATE)
        return names

    def _by_certificate(self, names: CertificateNames, now: Timestamp) -> Caller:
        try:
            return node_caller(names, self._trust_domain, now)
        except NotANode as exc:
            raise Unknown(Flaw.WRONG_CERTIFICATE) from exc
