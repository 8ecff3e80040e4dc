"""The policy of twenty entries that benchmarks of the kernel use, and its interface. Pure.

Eight allowed IPv4 networks with a denied one in each, and two of both in IPv6; six prefix lengths
in IPv4, two in IPv6. Of two versions for the same box, half of the entries differ.
"""

from ipaddress import IPv4Address, IPv6Address

from boxwall.policy import Address, Custom, policy_from_document
from boxwall_agent.ruleset import Interface

PAIRS4, PAIRS6 = 8, 2
LENGTHS4 = ((12, 24), (16, 28), (20, 32))
"""Of the allowed network and of the denied one in it."""


def twenty(box: int, version: int, *, one: int = 0, also: str = "") -> Custom:
    """Return a policy. `one` changes one allowed entry; `also` takes the place of another."""
    allowed, denied = [], []
    for pair in range(PAIRS4):
        value = version if pair % 2 else box
        wide, narrow = LENGTHS4[pair % len(LENGTHS4)]
        shifted = value + one if pair == 0 else value
        allowed.append(f"{_network4(pair, shifted, wide)}/{wide}")
        last = _network4(pair, value, wide) + (1 << (32 - wide)) - (1 << (32 - narrow))
        denied.append(f"{last}/{narrow}")
    for pair in range(PAIRS6):
        value = version if pair % 2 else box
        first = (0x2600 + pair) << 112 | (value & 0xFFFF) << 96
        allowed.append(f"{IPv6Address(first)}/32")
        denied.append(f"{IPv6Address(first | 0xFFFF << 80)}/48")
    if also:
        allowed[PAIRS4 - 2] = also
    document: dict[str, object] = {
        "mode": "custom",
        "allowed_cidrs": allowed,
        "denied_cidrs": denied,
    }
    policy = policy_from_document(document).policy
    assert isinstance(policy, Custom)
    assert len(policy.allowed_cidrs) + len(policy.denied_cidrs) == 2 * (PAIRS4 + PAIRS6)
    return policy


def interface_of(box: int, index: int) -> Interface:
    """Return a box's interface, with an address of each family."""
    return Interface(name=f"box{box}", index=index, addresses=addresses_of(box))


def addresses_of(box: int) -> tuple[Address, Address]:
    """Return the addresses of a box."""
    return Address(4, 0x0A4E0000 + box), Address(6, (0xFD78 << 112) + box)


def _network4(pair: int, value: int, length: int) -> IPv4Address:
    """Each pair has its own eighth of an octet's range, so that nothing overlaps."""
    first = (16 + 8 * pair) << 24
    return IPv4Address(first | value % (1 << (length - 5)) << (32 - length))
