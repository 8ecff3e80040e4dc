"""What a node says of a connection that a box would open, as values. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from boxwall.policy import Destination, Verdict


class _Word(StrEnum):
    """A closed set to which a newer agent may add."""

    @classmethod
    def of(cls, word: str) -> Self:
        """Return the member with this value, or `UNKNOWN`."""
        return cls(word) if word in cls.__members__.values() else cls("unknown")


class Outcome(_Word):
    """What would happen."""

    UNKNOWN = "unknown"
    """Of a newer agent."""
    REFUSED = "refused"
    PASSES = "passes"
    """Whatever it carries."""
    PASSES_IF_NAMED = "passes-if-named"
    """If its first bytes name one of `Explanation.names`."""
    RESOLVES = "resolves"
    """The name is allowed and has no address yet; a DNS answer would lease it."""
    ANSWERED_HERE = "answered-here"
    """DNS, which the agent answers."""


class Carrier(_Word):
    """How a connection can carry a name that lets it pass."""

    UNKNOWN = "unknown"
    TLS_SNI = "tls-sni"
    HTTP_HOST = "http-host"
    """Clear HTTP/1, each request of which has the name as its Host."""
    ADDRESS = "address"
    """None: what is neither TLS nor HTTP passes here because the address is leased."""


class EntryKind(_Word):
    """What a new connection meets first in the kernel."""

    UNKNOWN = "unknown"
    """The kernel could not be asked, or says what this client does not know."""
    NOTHING = "nothing"
    NOT_POLICED = "not-policed"
    BLOCKED = "blocked"
    DENIED = "denied"
    ALL = "all"
    ALLOWED = "allowed"
    LEASED = "leased"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedName:
    """The box may reach the address by the name."""

    name: str
    address: str
    grant: int
    """What connections carry in their conntrack mark that it lets in."""
    expire_time: datetime
    """When the lifetime of the DNS answer ends."""
    end_time: datetime
    """When the grace after it ends. No connection begins then; open ones go on."""
    live: bool
    """Whether the kernel holds the grant."""
    connections: int | None
    """Open ones that carry the grant; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEntry:
    """What the kernel holds for an address, on one interface of the box."""

    interface: str
    address: str
    kind: EntryKind
    set: str
    element: str
    """As `nft list table inet boxwall` shows it."""
    grant: int
    live: bool
    """Whether the grant is in force."""
    agrees: bool
    """Whether this is what the policy and the leases ask for; `problem` says how it differs."""
    problem: str
    connections: int | None
    """Open ones of the box to the address; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of a connection, and what that follows from."""

    destination: Destination
    outcome: Outcome
    verdict: Verdict
    names: tuple[str, ...]
    carriers: tuple[Carrier, ...]
    leases: tuple[LeasedName, ...]
    kernel: tuple[KernelEntry, ...]
    agrees: bool
    """Whether the kernel holds what the policy and the leases ask for."""
    summary: str
    """One sentence for people."""
