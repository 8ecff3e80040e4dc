"""The file of `--tokens`: who is known by which token, and which certificates count no more. Pure.

    revoked_certificates = ["5f70bf18…"]          # SHA-256 of certificates; may be left out

    [[tokens]]
    name = "search"                               # the author of its writes
    sha256 = "9f86d081…"                          # of the token; the token itself is nowhere
    tenant = "default"
    scopes = ["boxes.read", "boxes.write"]
    expires = 2027-01-01T00:00:00Z                # or "never"
    node = "n1"                                   # with the scope "enforce", and only then

A token is 32 random bytes behind a prefix, so a plain hash of it cannot be turned around.
"""

import hmac
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

from boxwall_server.changes.change import Timestamp
from boxwall_server.identity.caller import (
    NODE_FORM,
    TENANT_FORM,
    Caller,
    Scope,
    is_node_id,
    is_tenant,
)

TOKEN_PREFIX: Final = "boxwall_"
"""So that those who scan for leaked secrets can find it."""

MAX_TOKEN: Final = 256
MAX_TOKENS: Final = 10_000
_MAX_NAME: Final = 100
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEYS: Final = frozenset({"name", "sha256", "tenant", "scopes", "expires", "node"})
_INDEXED: Final = 16
"""Hexadecimal digits of a digest by which it is looked up."""


class BadTokens(ValueError):
    """The file cannot be used; the text says where and why, and shows no digest."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Everybody who is known by a token. The zero value knows nobody."""

    _callers: Mapping[str, tuple[Caller, ...]] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    """Fingerprints of certificates that no longer count."""

    def caller(self, token: str, now: Timestamp) -> Caller | None:
        """Return who a token is of. None: it is of nobody, or its time is up.

        Digests are looked up by their beginning and compared in constant time: how long it takes
        says at most how a hash begins, which nobody can choose.
        """
        if not 0 < len(token) <= MAX_TOKEN or not token.isascii():
            return None
        digest = token_digest(token)
        found = None
        for known in self._callers.get(digest[:_INDEXED], ()):
            if hmac.compare_digest(known.credential, digest):
                found = known
        return found if found is not None and is_in_time(found, now) else None

    def stands(self, caller: Caller, now: Timestamp) -> bool:
        """Return whether a caller that was found by its token would be found again, as it is.

        When it expires, the table says: a token can be prolonged, or cut short, while it is in use.
        """
        known = self._callers.get(caller.credential[:_INDEXED], ())
        return any(_is_still(one, caller) and is_in_time(one, now) for one in known)

    def __len__(self) -> int:
        return sum(map(len, self._callers.values()))


def is_in_time(caller: Caller, now: Timestamp) -> bool:
    """Return whether a caller has not expired."""
    return caller.expires is None or now < caller.expires


def token_digest(token: str) -> str:
    """Return what the file holds of a token."""
    return sha256(token.encode()).hexdigest()


def read_tokens(text: str) -> TokenTable:
    """Read the file. Raises BadTokens: one entry that cannot be used spoils the whole."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise BadTokens(f"it is not TOML: {exc}") from exc
    unknown = sorted(document.keys() - {"tokens", "revoked_certificates"})
    if unknown:
        raise BadTokens(f"unknown keys: {', '.join(unknown)}")
    entries = document.get("tokens")
    if not isinstance(entries, list) or len(entries) > MAX_TOKENS:
        raise BadTokens(
            f"it needs [[tokens]], at most {MAX_TOKENS}; to let nobody in, write tokens = []"
        )
    callers = [_caller(entry, f"tokens[{index}]") for index, entry in enumerate(entries)]
    _refuse_twice([caller.name for caller in callers], "name")
    _refuse_twice([caller.credential for caller in callers], "sha256")
    index: dict[str, tuple[Caller, ...]] = {}
    for caller in callers:
        key = caller.credential[:_INDEXED]
        index[key] = (*index.get(key, ()), caller)
    return TokenTable(index, _revoked(document.get("revoked_certificates", [])))


def _is_still(known: Caller, caller: Caller) -> bool:
    """Return whether `caller` is `known`, as it may act: an administrator in any tenant."""
    tenant = caller.tenant if Scope.ADMIN in known.scopes else known.tenant
    return (known.credential, known.name, known.scopes, known.node_id, tenant) == (
        caller.credential,
        caller.name,
        caller.scopes,
        caller.node_id,
        caller.tenant,
    )


def _caller(entry: object, where: str) -> Caller:
    if not isinstance(entry, dict):
        raise BadTokens(f"{where} is not a table; write [[tokens]] above each")
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        raise BadTokens(f"{where}: unknown keys: {', '.join(unknown)}")
    scopes = _scopes(entry.get("scopes"), where)
    node = entry.get("node", "")
    if (Scope.ENFORCE in scopes) != bool(node):
        raise BadTokens(f'{where}: the scope "enforce" and a node belong together')
    return Caller(
        tenant=_text(entry, "tenant", where, is_tenant, TENANT_FORM),
        name=_text(
            entry, "name", where, _is_name, f"must be 1 to {_MAX_NAME} printable characters"
        ),
        scopes=scopes,
        node_id=_text(entry, "node", where, is_node_id, NODE_FORM) if node else "",
        expires=_expires(entry.get("expires"), where),
        credential=_text(
            entry,
            "sha256",
            where,
            _is_digest,
            "must be 64 digits of 0-9 and a-f (a hash, no token)",
        ),
    )


def _text(
    entry: Mapping[str, object],
    key: str,
    where: str,
    is_good: Callable[[str], bool],
    form: str,
) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not is_good(value):
        raise BadTokens(f"{where}.{key} {form}")
    return value


def _scopes(value: object, where: str) -> frozenset[Scope]:
    known = {scope.value for scope in Scope}
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(one, str) and one in known for one in value)
    ):
        raise BadTokens(f"{where}.scopes must list some of {', '.join(sorted(known))}")
    return frozenset(map(Scope, value))


def _expires(value: object, where: str) -> Timestamp | None:
    if value == "never":
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise BadTokens(
            f"{where}.expires must be a time with its zone, such as 2027-01-01T00:00:00Z, "
            'or "never"'
        )
    return Timestamp(round(value.timestamp() * 1_000_000))


def _revoked(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(
        isinstance(one, str) and _is_digest(one) for one in value
    ):
        raise BadTokens("revoked_certificates must list SHA-256 fingerprints, 64 digits each")
    return frozenset(value)


def _refuse_twice(values: list[str], key: str) -> None:
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise BadTokens(f"tokens[{index}].{key} is there twice")
        seen.add(value)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MAX_NAME and text.isprintable() and not text.startswith("node/")


def _is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None
