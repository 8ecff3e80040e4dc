"""What did an earlier agent leave in the kernel? Read back from its table. Pure."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from boxwall.policy import AllowAll, Custom, Policy, Unlisted
from boxwall_agent.marks import Grant
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.objects import Element
from boxwall_agent.ruleset import BoxRules, Interface, Reason, closed, first_key


@dataclass(frozen=True, slots=True)
class Restored:
    """The values of the maps, the grants that were in force, and the interfaces that were policed.

    What the kernel had taken away before is not given back by a state that says otherwise.
    """

    values: Mapping[tuple[str, bytes], bytes] = field(default_factory=dict)
    live: frozenset[bytes] = frozenset()
    """Interface index and grant, as they are in the set `live`."""
    names: frozenset[str] = frozenset()
    indexes: frozenset[int] = frozenset()

    @classmethod
    def of(cls, elements: Iterable[Element]) -> "Restored":
        """Take what the sets of the table held."""
        values = {}
        live = set()
        names = set()
        indexes = set()
        for element in elements:
            if element.set == "live":
                live.add(element.key)
            elif element.set == "boxes":
                names.add(element.key.rstrip(b"\0").decode(errors="replace"))
            elif element.set == "hosted":
                indexes.add(int.from_bytes(element.key, sys.byteorder))
            elif element.value:
                values[element.set, element.key] = element.value
        return cls(values, frozenset(live), frozenset(names), frozenset(indexes))

    @property
    def grants(self) -> frozenset[int]:
        """Every grant that was in force."""
        return frozenset(int.from_bytes(key[4:], sys.byteorder) for key in self.live)

    def is_open(self, interface: Interface) -> bool:
        """Whether a policy was in force there."""
        return ("seals", host32(interface.index)) in self.values

    def is_live(self, interface: Interface, grant: Grant) -> bool:
        """Whether the grant was in force there."""
        return host32(interface.index) + host32(grant) in self.live

    def rules_before(self, interface: Interface, policy: Policy | None, seal: bytes) -> BoxRules:
        """Return what is to be kept of the box's rules: its grants, if this very policy was in
        force.
        """
        before = closed(interface)
        if self.values.get(("seals", host32(interface.index))) != seal:
            return before
        grants: dict[Reason, Grant] = {}
        for reason in _reasons(policy):
            mark = self.values.get(first_key(interface, reason), b"")
            if mark and host32(interface.index) + mark in self.live:
                grants[reason] = Grant(int.from_bytes(mark, sys.byteorder))
        denied = frozenset(policy.denied_cidrs) if isinstance(policy, Custom) else frozenset()
        return BoxRules(elements=before.elements, grants=grants, denied=denied)


def _reasons(policy: Policy | None) -> tuple[Reason, ...]:
    if isinstance(policy, AllowAll):
        return (None,)
    if isinstance(policy, Custom):
        return (None,) if policy.unlisted is Unlisted.ALLOW else policy.allowed_cidrs
    return ()
