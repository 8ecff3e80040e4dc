"""Who calls. The zero value may do nothing."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from boxwall_server.changes.change import Timestamp

_TENANT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NODE_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)

TENANT_FORM: Final = (
    'must be 1 to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit'
)
NODE_FORM: Final = (
    'must be 1 to 253 of letters, digits, "-", "_" and ".", '
    "beginning and ending with a letter or digit"
)
DEFAULT_TENANT: Final = "default"


class Scope(StrEnum):
    """What a caller may do, within its tenant."""

    BOXES_READ = "boxes.read"
    BOXES_WRITE = "boxes.write"
    NODES_READ = "nodes.read"
    ENFORCE = "enforce"
    """Speak as one node, the caller's own."""
    ADMIN = "admin"
    """The first three, shut nodes out, and do all that in any tenant. It is not `enforce`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An identity. Everything a call reads and writes is confined to its tenant."""

    tenant: str = ""
    """Empty: none, and no such tenant can be."""
    name: str = ""
    """The author of its writes."""
    scopes: frozenset[Scope] = frozenset()
    node_id: str = ""
    """The one node it may speak for. Empty: none."""
    any_node: bool = False
    """Whether it may speak for every node of its tenant."""
    expires: Timestamp | None = None
    """When it ceases to be valid. None: never."""
    by_certificate: bool = False
    """Whether a certificate proved it, not a token."""
    credential: str = ""
    """Which credential proved it: the digest of a token or of a certificate; never a secret."""
    connection: str = ""
    """Fingerprint of the certificate that opened its connection. Empty: none was asked for."""
    connection_expires: Timestamp | None = None
    """When that certificate ceases to be valid."""


NOBODY: Final = Caller()
"""Before anything is proved."""

ANYONE: Final = Caller(
    tenant=DEFAULT_TENANT, name="anonymous", scopes=frozenset(Scope), any_node=True
)
"""Every caller, where there are no identities: then only this machine can reach the server."""


def is_tenant(text: str) -> bool:
    """Return whether a text can name a tenant."""
    return _TENANT.fullmatch(text) is not None


def is_node_id(text: str) -> bool:
    """Return whether a text can name a node."""
    return _NODE_ID.fullmatch(text) is not None
