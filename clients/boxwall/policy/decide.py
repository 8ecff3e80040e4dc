"""Whether a policy lets a destination be reached: the one function that says so."""

from dataclasses import dataclass, field
from typing import Final, assert_never

from boxwall.policy.addresses import ALWAYS_BLOCKED, Address, NetworkTable
from boxwall.policy.destination import Destination, Protocol
from boxwall.policy.model import AllowAll, Custom, DenyAll, Policy, Unlisted
from boxwall.policy.names import DomainPattern, Name
from boxwall.policy.verdict import Reason, Rule, RuleList, Verdict

_ALWAYS_BLOCKED: Final[NetworkTable[str]] = NetworkTable(ALWAYS_BLOCKED)
_QUIC_PORT: Final = 443

_DENY_ALL: Final = Rule(RuleList.MODE, "deny-all")
_ALLOW_ALL: Final = Rule(RuleList.MODE, "allow-all")
_UNLISTED_DENY: Final = Rule(RuleList.UNLISTED, "deny")
_UNLISTED_ALLOW: Final = Rule(RuleList.UNLISTED, "allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is judged besides the policy.

    `blocked` comes on top of ALWAYS_BLOCKED and cannot take from it: the node's own addresses,
    other boxes, ranges the operator names, each with what it is.
    """

    spoofed_source: bool = False
    blocked: NetworkTable[str] = field(default_factory=NetworkTable)


NOTHING_SPECIAL: Final = Surroundings()
"""An honest source, and nothing blocked but ALWAYS_BLOCKED."""


def decide(
    policy: Policy,
    destination: Destination,
    *,
    revision: int = 0,
    surroundings: Surroundings = NOTHING_SPECIAL,
) -> Verdict:
    """Judge `destination`, as the box sent it, under `policy`; `revision` is only passed on.

    The first line that applies gives the verdict:

    1. The source is spoofed: deny SPOOFED_SOURCE.
    2. The address is always blocked: deny RESERVED_ADDRESS, in every mode.
    3. The mode is deny-all: deny DENY_ALL. It is allow-all: allow ALLOW_ALL.
    4. The address is in a denied CIDR: deny DENIED_CIDR. Deny beats every allow.
    5. The address is in an allowed CIDR: allow ALLOWED_CIDR.
    6. An allowed domain matches the name: allow ALLOWED_DOMAIN; but over UDP to port 443 deny
       QUIC_BY_NAME, because QUIC hides the name that would have to be checked.
    7. `unlisted` is allow: allow NOT_DENIED.
    8. Otherwise deny: NEEDS_NAME if no name was given and one could have helped, else NO_RULE.

    The name is taken as the one the connection carries, the address as one that the name led to.
    Without an address, lines 2, 4 and 5 do not apply, and an allow is conditional
    (`Verdict.address_known` is False). Total: never raises.
    """
    allowed, reason, rule = _judge(policy, destination, surroundings)
    return Verdict(
        allowed=allowed,
        reason=reason,
        rule=rule,
        policy_revision=revision,
        address_known=destination.address is not None,
    )


def matching_domain(policy: Policy, name: Name) -> DomainPattern | None:
    """The most specific entry of allowed_domains that matches `name`, or None."""
    if not isinstance(policy, Custom):
        return None
    found = policy.index.find_domain(name)
    return None if found is None else found[0]


def _judge(
    policy: Policy, destination: Destination, surroundings: Surroundings
) -> tuple[bool, Reason, Rule | None]:
    """Lines 1 to 3."""
    if surroundings.spoofed_source:
        return False, Reason.SPOOFED_SOURCE, None
    if destination.address is not None:
        blocked = _blocked_by(destination.address, surroundings.blocked)
        if blocked is not None:
            return False, Reason.RESERVED_ADDRESS, blocked
    match policy:
        case Custom():
            return _judge_by_lists(policy, destination)
        case DenyAll():
            return False, Reason.DENY_ALL, _DENY_ALL
        case AllowAll():
            return True, Reason.ALLOW_ALL, _ALLOW_ALL
        case _:
            assert_never(policy)


def _judge_by_lists(policy: Custom, destination: Destination) -> tuple[bool, Reason, Rule]:
    """Lines 4 to 8."""
    index = policy.index
    if destination.address is not None:
        denied = index.denied.find(destination.address)
        if denied is not None:
            return False, Reason.DENIED_CIDR, denied[1]
        allowed = index.allowed.find(destination.address)
        if allowed is not None:
            return True, Reason.ALLOWED_CIDR, allowed[1]
    if destination.domain is not None:
        matched = index.find_domain(destination.domain)
        if matched is not None:
            if destination.port == _QUIC_PORT and destination.protocol is Protocol.UDP:
                return False, Reason.QUIC_BY_NAME, matched[1]
            return True, Reason.ALLOWED_DOMAIN, matched[1]
    if policy.unlisted is Unlisted.ALLOW:
        return True, Reason.NOT_DENIED, _UNLISTED_ALLOW
    if destination.domain is None and index.has_domains:
        return False, Reason.NEEDS_NAME, _UNLISTED_DENY
    return False, Reason.NO_RULE, _UNLISTED_DENY


def _blocked_by(address: Address, more: NetworkTable[str]) -> Rule | None:
    found = _ALWAYS_BLOCKED.find(address) or more.find(address)
    if found is None:
        return None
    network, what = found
    return Rule(RuleList.ALWAYS_BLOCKED, f"{network} ({what})")
