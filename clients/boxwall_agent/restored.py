"""Which grants do the connections of an earlier agent carry? Read back from its table. Pure."""

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
    """The values of the maps, and the grants that were in force."""

    values: Mapping[tuple[str, bytes], bytes] = field(default_factory=dict)
    live: frozenset[bytes] = frozenset()
    """Interface index and grant, as they are in the set `live`."""

    @classmethod
    def of(cls, elements: Iterable[Element]) -> "Restored":
        """Take what the sets of the table held."""
        values = {}
        live = set()
        for element in elements:
            if element.set == "live":
                live.add(element.key)
            elif element.value:
                values[element.set, element.key] = element.value
        return cls(values, frozenset(live))

    def rules_before(self, interface: Interface, policy: Policy | None) -> BoxRules:
        """Return what is to be kept of the box's rules: its grants."""
        grants: dict[Reason, Grant] = {}
        for reason in _reasons(policy):
            mark = self.values.get(first_key(interface, reason), b"")
            if mark and host32(interface.index) + mark in self.live:
                grants[reason] = Grant(int.from_bytes(mark, sys.byteorder))
        denied = frozenset(policy.denied_cidrs) if isinstance(policy, Custom) else frozenset()
        before = closed(interface)
        return BoxRules(elements=before.elements, grants=grants, denied=denied)


def _reasons(policy: Policy | None) -> tuple[Reason, ...]:
    if isinstance(policy, AllowAll):
        return (None,)
    if isinstance(policy, Custom):
        return (None,) if policy.unlisted is Unlisted.ALLOW else policy.allowed_cidrs
    return ()
