"""What is in our table, and which transaction makes it what it should be? Pure.

`plan_install` and `plan_changes` say what to do; when the kernel has done it, `adopt` the plan. A
plan that the kernel refused is forgotten, and nothing here has changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from boxwall.policy import ALWAYS_BLOCKED, Address, Network, NetworkTable
from boxwall_agent.nft import layout
from boxwall_agent.nft.batch import Batch, TableFlags
from boxwall_agent.nft.family import FAMILIES, IPV4, IPV6, Family
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.nft.naming import Naming
from boxwall_agent.nft.objects import Element
from boxwall_agent.ruleset import BoxRules, Slot

Slots: TypeAlias = Mapping[str, Mapping[Slot, bytes | None]]
"""By interface: what changes of its leases. None: no element."""

_NOT_REACHABLE: Final[NetworkTable[None]] = NetworkTable(
    (Network.parse(text), None) for text in ("127.0.0.0/8", "169.254.0.0/16", "::/96", "fe80::/10")
)
"""The node's addresses to which a box's packets cannot be sent."""

Length = tuple[int, int]
"""IP version and prefix length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What holds for all boxes."""

    per_box: PerBox = field(default_factory=PerBox)
    blocked: tuple[Network, ...] = ()
    """On top of ALWAYS_BLOCKED."""
    inbound_from: tuple[Network, ...] = ()
    node_addresses: frozenset[Address] = frozenset()
    named_addresses: frozenset[Address] = frozenset()
    """Those of them that an operator named: they may be translated in front of the node."""
    naming: Naming | None = None
    """None: nothing is allowed by name, and no box's DNS is answered."""
    displaced: bytes | None = None
    """See `layout.rules`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A transaction, and what holds once it is done."""

    batch: Batch
    boxes: Mapping[str, BoxRules | None]
    """Those that change; None: no longer here."""
    shared: Shared
    lengths: frozenset[Length]
    slots: Slots = field(default_factory=dict)
    is_whole: bool = False
    """Whether no other boxes remain."""


class Table:
    """What the kernel holds, as far as is known here. Boxes are named by their id."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._boxes: dict[str, BoxRules] = {}
        self._slots: dict[str, dict[Slot, bytes]] = {}
        self._lengths: frozenset[Length] = frozenset()
        self._fixed_rules = len(tuple(layout.rules(shared.naming, shared.displaced)))

    @property
    def shared(self) -> Shared:
        """What holds for all boxes."""
        return self._shared

    @property
    def boxes(self) -> Mapping[str, BoxRules]:
        """What is held, by box."""
        return self._boxes

    @property
    def rule_count(self) -> int:
        """How many rules the table has."""
        return self._fixed_rules + sum(
            len(tuple(layout.length_rules(_family(version), length)))
            for version, length in self._lengths
        )

    @property
    def box_elements(self) -> frozenset[Element]:
        """Every element of every box."""
        return _elements(self._boxes, self._slots)

    @property
    def box_sets(self) -> list[str]:
        """The sets that hold elements of boxes."""
        shared = {
            f"{name}{f.suffix}"
            for f in FAMILIES
            for name in ("node", "agent", "blocked", "inbound")
        }
        fixed = {made.name for made in layout.sets(self._shared.per_box)} - shared
        lengths = {
            made.name
            for version, length in self._lengths
            for made in layout.length_sets(_family(version), length)
        }
        return sorted(fixed | lengths)

    def plan_install(
        self,
        *,
        replace: bool,
        flags: TableFlags,
        boxes: Mapping[str, BoxRules] | None = None,
        slots: Slots | None = None,
        after: Plan | None = None,
    ) -> Plan:
        """Everything anew, at one instant; `replace` if there is a table.

        `boxes`: else as held. `slots`: what changes beside it. `after`: as if that plan had been
        adopted, in place of both.
        """
        shared = self._shared
        if after is not None:
            changed = {**self._boxes, **after.boxes}
            boxes = {name: rules for name, rules in changed.items() if rules is not None}
            slots, shared = after.slots, after.shared
        boxes = dict(self._boxes if boxes is None else boxes)
        held = self._slots_after(boxes, slots or {})
        lengths = frozenset[Length]().union(*(rules.lengths for rules in boxes.values()))
        batch = Batch()
        if replace:
            batch.delete_table()
        batch.add_table(flags)
        for made in layout.sets(shared.per_box):
            batch.add_set(made)
        for chain in layout.chains():
            batch.add_chain(chain)
        for rule in layout.rules(shared.naming, shared.displaced):
            batch.add_rule(rule)
        _add_lengths(batch, lengths)
        blocked = (*(network for network, _ in ALWAYS_BLOCKED), *shared.blocked)
        batch.add_elements(layout.ranges("blocked", blocked))
        batch.add_elements(layout.ranges("inbound", shared.inbound_from))
        batch.add_elements(sorted(_node_elements(shared)))
        batch.add_elements(sorted(_elements(boxes, held)))
        return Plan(
            batch=batch,
            boxes=boxes,
            shared=shared,
            lengths=lengths,
            slots=held,
            is_whole=True,
        )

    def plan_changes(
        self, changes: Mapping[str, BoxRules | None], slots: Slots | None = None
    ) -> Plan:
        """The differences of the boxes named; None: the box is no longer here.

        Deletions come first: an element whose value changes is deleted and added.
        """
        slots = slots or {}
        gone: set[Element] = set()
        new: set[Element] = set()
        lengths: set[Length] = set()
        for box_id, rules in changes.items():
            before = self._boxes.get(box_id)
            held = frozenset[Element]() if before is None else before.elements
            wanted = frozenset[Element]()
            if rules is not None:
                wanted = rules.elements
                lengths |= rules.lengths
            gone |= held - wanted
            new |= wanted - held
            if rules is None:
                gone.update(_of_slots(self._slots.get(box_id, {})))
        for name, wanted_slots in slots.items():
            held_slots = self._slots.get(name, {})
            for slot, value in wanted_slots.items():
                old = held_slots.get(slot)
                if old is not None and old != value:
                    gone.add(Element(*slot, old))
                if value is not None and old != value:
                    new.add(Element(*slot, value))
        batch = Batch()
        missing = lengths - self._lengths
        _add_lengths(batch, missing)
        # An address or a name that moves from one box to another is in both sets.
        moved = gone & new
        batch.delete_elements(sorted(gone - moved))
        batch.add_elements(sorted(new - moved))
        return Plan(
            batch=batch,
            boxes=changes,
            shared=self._shared,
            lengths=self._lengths | missing,
            slots=slots,
        )

    def plan_node_addresses(self, addresses: frozenset[Address]) -> Plan:
        """The node has these addresses now."""
        shared = replace(self._shared, node_addresses=addresses)
        before, after = _node_elements(self._shared), _node_elements(shared)
        batch = Batch()
        batch.delete_elements(sorted(before - after))
        batch.add_elements(sorted(after - before))
        return Plan(batch=batch, boxes={}, shared=shared, lengths=self._lengths)

    def adopt(self, plan: Plan) -> None:
        """The kernel has done it."""
        if plan.is_whole:
            self._boxes.clear()
            self._slots.clear()
        for box_id, rules in plan.boxes.items():
            if rules is None:
                self._boxes.pop(box_id, None)
                self._slots.pop(box_id, None)
            else:
                self._boxes[box_id] = rules
        for name, slots in plan.slots.items():
            if name in self._boxes:
                _change(self._slots.setdefault(name, {}), slots)
        self._shared = plan.shared
        self._lengths = plan.lengths

    def _slots_after(self, boxes: Iterable[str], changes: Slots) -> dict[str, dict[Slot, bytes]]:
        after = {name: dict(self._slots.get(name, {})) for name in boxes}
        for name in after.keys() & changes.keys():
            _change(after[name], changes[name])
        return after


def _change(held: dict[Slot, bytes], changes: Mapping[Slot, bytes | None]) -> None:
    for slot, value in changes.items():
        if value is None:
            held.pop(slot, None)
        else:
            held[slot] = value


def _elements(
    boxes: Mapping[str, BoxRules], slots: Mapping[str, Mapping[Slot, bytes]]
) -> frozenset[Element]:
    every = frozenset[Element]().union(*(rules.elements for rules in boxes.values()))
    return every.union(*(_of_slots(slots.get(name, {})) for name in boxes))


def _of_slots(slots: Mapping[Slot, bytes]) -> list[Element]:
    return [Element(name, key, value) for (name, key), value in slots.items()]


def _add_lengths(batch: Batch, lengths: Iterable[Length]) -> None:
    for version, length in sorted(lengths):
        family = _family(version)
        for made in layout.length_sets(family, length):
            batch.add_set(made)
        for rule in layout.length_rules(family, length):
            batch.add_rule(rule)


def _family(version: int) -> Family:
    return IPV4 if version == 4 else IPV6


def _node_elements(shared: Shared) -> frozenset[Element]:
    """Which addresses are the node's, and by which of them boxes reach the agent."""
    elements = set()
    for family in FAMILIES:
        here = [one for one in shared.node_addresses if one.version == family.version]
        for address in here:
            elements.add(Element(f"node{family.suffix}", family.packed(address.value)))
        reachable = [
            one.value
            for one in here
            if one not in shared.named_addresses and _NOT_REACHABLE.find(one) is None
        ]
        if reachable:
            key = bytes((family.nfproto,))
            elements.add(Element(f"agent{family.suffix}", key, family.packed(min(reachable))))
    return frozenset(elements)
