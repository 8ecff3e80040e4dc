"""A policy as a value, and the words in which it is judged.

`Policy` is a closed union: take it apart with `match`, and end with `assert_never`.
"""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TypeAlias, assert_never

from boxwall.policy.addresses import Network
from boxwall.policy.destination import Destination, Protocol, destination
from boxwall.policy.index import PolicyIndex
from boxwall.policy.names import DomainPattern
from boxwall.policy.verdict import Reason, Rule, RuleList, Verdict

__all__ = [
    "AllowAll",
    "Custom",
    "DenyAll",
    "Destination",
    "Mode",
    "Policy",
    "Protocol",
    "Reason",
    "Rule",
    "RuleList",
    "Unlisted",
    "Verdict",
    "destination",
    "mode_of",
]


class Mode(StrEnum):
    """The three kinds of policy, as documents write them."""

    ALLOW_ALL = "allow-all"
    DENY_ALL = "deny-all"
    CUSTOM = "custom"


class Unlisted(Enum):
    """What a custom policy does with a destination in none of its lists."""

    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowAll:
    """Everything outbound is allowed, except the ranges that are always blocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyAll:
    """Nothing outbound is allowed, DNS included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """Lists in the order they were given, without duplicates. The default denies everything.

    Raises ValueError where `unlisted` allows and an entry allows too: such an entry would look like
    a restriction and be none.
    """

    allowed_domains: tuple[DomainPattern, ...] = ()
    allowed_cidrs: tuple[Network, ...] = ()
    denied_cidrs: tuple[Network, ...] = ()
    unlisted: Unlisted = Unlisted.DENY
    _index: PolicyIndex | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        allows = self.allowed_domains or self.allowed_cidrs
        if allows and self.unlisted is Unlisted.ALLOW:
            raise ValueError("unlisted: allow beside an allow entry")

    @property
    def index(self) -> PolicyIndex:
        """The lists arranged for look-ups; built when first asked for, and kept.

        Not in the constructor: a control plane holds many policies and judges by few of them. Two
        threads may both build it; they build the same.
        """
        index = self._index
        if index is None:
            index = PolicyIndex(self.allowed_domains, self.allowed_cidrs, self.denied_cidrs)
            object.__setattr__(self, "_index", index)
        return index


Policy: TypeAlias = AllowAll | DenyAll | Custom


def mode_of(policy: Policy) -> Mode:
    """The mode that documents write for `policy`."""
    match policy:
        case AllowAll():
            return Mode.ALLOW_ALL
        case DenyAll():
            return Mode.DENY_ALL
        case Custom():
            return Mode.CUSTOM
        case _:
            assert_never(policy)
