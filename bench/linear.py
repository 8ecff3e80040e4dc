"""What `decide` would cost as most would write it first: a scan over the lists for each question.

It reads the same parsed values and gives the same verdicts, but arranges nothing beforehand.
"""

from collections.abc import Iterable

from boxwall.policy import ALWAYS_BLOCKED, Address, Custom, Destination, Network, Protocol, Unlisted


def decide_by_scan(policy: Custom, asked: Destination) -> tuple[bool, str]:
    """Return whether a destination is allowed, and the name of the reason."""
    address = asked.address
    if address is not None:
        if _within((network for network, _ in ALWAYS_BLOCKED), address):
            return False, "RESERVED_ADDRESS"
        if _within(policy.denied_cidrs, address):
            return False, "DENIED_CIDR"
        if _within(policy.allowed_cidrs, address):
            return True, "ALLOWED_CIDR"
    return _by_name(policy, asked)


def _by_name(policy: Custom, asked: Destination) -> tuple[bool, str]:
    if asked.domain is not None:
        for pattern in policy.allowed_domains:
            if pattern.matches(asked.domain):
                if asked.port == 443 and asked.protocol is Protocol.UDP:
                    return False, "QUIC_BY_NAME"
                return True, "ALLOWED_DOMAIN"
    if policy.unlisted is Unlisted.ALLOW:
        return True, "NOT_DENIED"
    if asked.domain is None and policy.allowed_domains:
        return False, "NEEDS_NAME"
    return False, "NO_RULE"


def _within(networks: Iterable[Network], address: Address) -> bool:
    return any(address in network for network in networks)
