"""Puts policies in force: one kernel transaction for what is new, and deny where that fails.

Whatever goes wrong, a box ends with its old rules, its new rules, or none; never with others. A
policy that the kernel refuses closes its box, by a transaction that only takes elements away; if
even that is refused, or nobody knows what the kernel did, the interface is taken down, and the box
is meant to be closed from then on.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Protocol

from boxwall.policy import Address, Surroundings
from boxwall.wire.entries import Result
from boxwall_agent.errors import AgentError, CannotAttach, KernelError
from boxwall_agent.grants import GrantPool
from boxwall_agent.hosted import Hosted, Standing, result_of
from boxwall_agent.in_force import InForce
from boxwall_agent.leases import Lease, LeaseBounds, LeasePlan
from boxwall_agent.leasing import Leasing, slots_of
from boxwall_agent.link_news import Link
from boxwall_agent.nft.expressions import host32
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.places import check_addresses, check_place, surroundings_of
from boxwall_agent.restored import Restored
from boxwall_agent.ruleset import BoxRules, Interface, Slot, absent, closed, rules_of, sealed
from boxwall_agent.seals import Seals
from boxwall_agent.table import Slots


class Switch(Protocol):
    """What still works when the kernel refuses transactions."""

    def cut(self, interface: Interface) -> None:
        """Let nothing pass the interface. Needs no memory; raises nothing."""


class Ports(Protocol):
    """What holds back interfaces that are made ports of a bridge."""

    def keep(self, indexes: Set[int]) -> None:
        """Let nothing pass by these while they are ports. Raises nothing."""


class Unguarded:
    """Nothing does."""

    def keep(self, indexes: Set[int]) -> None:
        """Do nothing."""


class Enforcer:
    """The boxes of this node, and the kernel's table for them."""

    def __init__(
        self,
        in_force: InForce,
        grants: GrantPool,
        switch: Switch,
        bounds: LeaseBounds = LeaseBounds(),
        ports: Ports = Unguarded(),
    ) -> None:
        self._in_force = in_force
        self._ports = ports
        self._grants = grants
        self._switch = switch
        self._hosted: dict[str, Hosted] = {}
        self._by_index: dict[int, str] = {}
        self._by_address: dict[Address, str] = {}
        self._surroundings: Surroundings | None = None
        self._seals = Seals(in_force.shared)
        self._held_back: set[tuple[str, int]] = set()
        self.leasing = Leasing(in_force, grants, bounds)

    @property
    def hosted(self) -> Mapping[str, Hosted]:
        """The boxes, by id."""
        return self._hosted

    @property
    def enforces_names(self) -> bool:
        """Whether `allowed_domains` mean anything on this node."""
        return self._in_force.shared.naming is not None

    @property
    def per_box(self) -> PerBox:
        """What one box may use."""
        return self._in_force.shared.per_box

    def hosted_on(self, index: int) -> Hosted | None:
        """The box whose interface has this index, or None."""
        box_id = self._by_index.get(index)
        return None if box_id is None else self._hosted.get(box_id)

    def hosted_at(self, address: Address) -> Hosted | None:
        """The box that has this address, or None."""
        box_id = self._by_address.get(address)
        return None if box_id is None else self._hosted.get(box_id)

    def rules_of_box(self, hosted: Hosted) -> list[BoxRules]:
        """What the kernel holds for a box, for each of its interfaces."""
        held = (self._in_force.rules.get(interface.name) for interface in hosted.interfaces)
        return [rules for rules in held if rules is not None]

    @property
    def surroundings(self) -> Surroundings:
        """What is blocked besides what always is: the node, other boxes, the operator's ranges."""
        if self._surroundings is None:
            self._surroundings = surroundings_of(self._in_force.shared, self._hosted.values())
        return self._surroundings

    def start(
        self,
        hosted: Iterable[Hosted],
        restored: Restored | None,
        *,
        leases: Mapping[str, Iterable[Lease]],
    ) -> None:
        """Put everything in force at one instant, in place of what an earlier agent left.

        `hosted` is what `wanted.at_start` says; `restored`: None if there was no table. Connections
        keep the grants of policies and leases that were in force. Raises KernelError.
        """
        self._hosted = {one.box_id: one for one in hosted}
        self._places_changed()
        rules = {}
        slots: dict[str, dict[Slot, bytes | None]] = {}
        for one in self._hosted.values():
            of_box = leases.get(one.box_id, ())
            kept = self.leasing.restore(one, of_box, self.surroundings, restored)
            slots |= slots_of(one, kept)
            for interface in one.interfaces:
                before = closed(interface)
                if restored is not None and one.policy is not None:
                    before = restored.rules_before(interface, one.policy, self._seals.of(one))
                rules[interface.name] = self._rules(one, interface, before)
        self._in_force.install(rules, slots, replace_table=restored is not None)
        self._ports.keep(self._by_index.keys())

    def is_in_force(self) -> bool:
        """Whether the kernel holds what it should."""
        return self._in_force.is_whole()

    @property
    def is_in_doubt(self) -> bool:
        """Whether the kernel may hold something else than is meant."""
        return self._in_force.is_in_doubt

    def reinstall(self) -> None:
        """Put everything in force anew, as it was meant to be. Raises KernelError."""
        self._in_force.reinstall()

    def attach(self, box_id: str, interfaces: Sequence[Interface]) -> Hosted:
        """Police these interfaces as the box's; nothing passes until a policy comes.

        What is attached already, and in force, stays as it is. Raises CannotAttach if one is
        another box's, or an address can be no box's.
        """
        before = self._hosted.get(box_id)
        if (
            before is not None
            and before.interfaces == tuple(interfaces)
            and before.standing is Standing.ENFORCED
        ):
            return before
        check_addresses(interfaces, self._in_force.shared.node_addresses)
        check_place(self._hosted, box_id, interfaces)
        hosted = Hosted(box_id=box_id, interfaces=tuple(interfaces))
        changes: dict[str, BoxRules | None] = {}
        slots: Slots = {}
        if before is not None:
            changes = {interface.name: None for interface in before.interfaces}
            slots = slots_of(before, self.leasing.withdrawn(box_id))
        changes |= {interface.name: closed(interface) for interface in interfaces}
        try:
            self._in_force.change(changes, slots)
        except KernelError as exc:
            for interface in interfaces:
                self._switch.cut(interface)
            if before is not None and before.standing is not Standing.GONE:
                self._hosted[box_id] = self._given_up(before, exc)
            raise CannotAttach(f"{exc}; the interface was taken down") from exc
        self.leasing.drop(box_id)
        names = {interface.name for interface in interfaces}
        self._hosted = {
            one.box_id: one
            for one in self._hosted.values()
            if not (one.is_forgotten and one.interfaces[0].name in names)
        }
        self._hosted[box_id] = hosted
        self._places_changed()
        self._ports.keep(self._by_index.keys())
        return hosted

    def detach(self, box_id: str) -> Hosted | None:
        """Police the box's interfaces no more. None: there is no such box.

        Raises KernelError; the box is then as it was, or, if nobody knows whether its interfaces
        are policed still, closed for good.
        """
        hosted = self._hosted.get(box_id)
        if hosted is not None:
            try:
                self._in_force.change({one.name: None for one in hosted.interfaces})
            except KernelError as exc:
                if self._in_force.is_in_doubt:
                    self._hosted[box_id] = self._given_up(hosted, exc)
                raise
            del self._hosted[box_id]
            self.leasing.drop(box_id)
            self._places_changed()
            self._ports.keep(self._by_index.keys())
        return hosted

    def take_down(self, link: Link) -> None:
        """Let nothing pass a link that cannot be policed."""
        self._switch.cut(Interface(name=link.name, index=link.index, addresses=()))

    def hold_back(self, full: Set[str]) -> None:
        """These boxes open no new connections, the others may. Raises KernelError."""
        held = {
            (interface.name, interface.index)
            for box_id in full & self._hosted.keys()
            for interface in self._hosted[box_id].interfaces
        }
        slots: dict[str, dict[Slot, bytes | None]] = {}
        for name, index in self._held_back | held:
            value = b"" if (name, index) in held else None
            slots.setdefault(name, {})["full", host32(index)] = value
        self._in_force.change({}, slots)
        self._held_back = held

    def node_has(self, addresses: frozenset[Address]) -> None:
        """The node's own addresses are these now. Raises KernelError."""
        if addresses != self._in_force.shared.node_addresses:
            self._in_force.node_has(addresses)
            self._surroundings = None

    def _places_changed(self) -> None:
        self._surroundings = None
        self._by_address = {
            address: hosted.box_id
            for hosted in self._hosted.values()
            for interface in hosted.interfaces
            if not interface.is_gone
            for address in interface.addresses
        }
        self._by_index = {
            interface.index: hosted.box_id
            for hosted in self._hosted.values()
            for interface in hosted.interfaces
            if not interface.is_gone
        }

    def put(self, wanted: Iterable[Hosted]) -> Sequence[Hosted]:
        """Make the boxes so; return them as they are then.

        All in one transaction; if that is refused, each box alone, so that one cannot hold back the
        others.
        """
        done = list(wanted)
        try:
            self._change(done)
        except AgentError as exc:
            done = self._put_each(done, exc)
        has_moved = any(self._before(one).interfaces != one.interfaces for one in done)
        self._hosted.update((hosted.box_id, hosted) for hosted in done)
        if has_moved:
            self._places_changed()
            self._ports.keep(self._by_index.keys())
        return done

    def _put_each(self, boxes: Sequence[Hosted], exc: AgentError) -> list[Hosted]:
        if self._in_force.is_in_doubt:
            # What the kernel holds of these is not known. To close them all ends the doubt, or
            # else the kernel does nothing any more, and is not asked for each box again.
            try:
                self._change([_failed(hosted, exc) for hosted in boxes])
            except KernelError as worse:
                return [self._given_up(_failed(hosted, exc), worse) for hosted in boxes]
        return [self._put_alone(hosted) for hosted in boxes]

    def _put_alone(self, hosted: Hosted) -> Hosted:
        try:
            self._change([hosted])
        except AgentError as exc:
            failed = _failed(hosted, exc)
            try:
                self._change([failed])
            except KernelError as worse:
                return self._given_up(failed, worse)
            return failed
        return hosted

    def _given_up(self, hosted: Hosted, exc: KernelError) -> Hosted:
        """Without the kernel's help: nothing passes now, and the box is meant to be closed."""
        for interface in hosted.interfaces:
            self._switch.cut(interface)
        reasons = (hosted.message, str(exc), "the interface was taken down")
        failed = _failed(hosted, "; ".join(filter(None, reasons)))
        judged = self._judged(failed)
        self._in_force.mean(self._rules_for([failed]), slots_of(self._before(failed), judged))
        self.leasing.adopt({failed.box_id: judged})
        return failed

    def _change(self, boxes: Sequence[Hosted]) -> None:
        """Policies and leases in one transaction. Raises KernelError."""
        judged = {hosted.box_id: self._judged(hosted) for hosted in boxes}
        slots: dict[str, dict[Slot, bytes | None]] = {}
        for hosted in boxes:
            slots |= slots_of(self._before(hosted), judged[hosted.box_id])
        self._in_force.change(self._rules_for(boxes), slots)
        self.leasing.adopt(judged)

    def _before(self, hosted: Hosted) -> Hosted:
        """The box as it has been: its leases are at an interface that may have gone now."""
        return self._hosted.get(hosted.box_id, hosted)

    def _judged(self, hosted: Hosted) -> LeasePlan:
        """What becomes of the box's leases. A new box with an old id inherits none."""
        same = self._hosted.get(hosted.box_id)
        if same is None or same.uid != hosted.uid:
            return self.leasing.withdrawn(hosted.box_id)
        return self.leasing.judged(hosted, self.surroundings)

    def _rules_for(self, boxes: Iterable[Hosted]) -> dict[str, BoxRules]:
        rules = {}
        for hosted in boxes:
            same = self._hosted.get(hosted.box_id)
            for interface in hosted.interfaces:
                before = closed(interface)
                if same is not None and same.uid == hosted.uid:
                    before = self._in_force.rules.get(interface.name, before)
                rules[interface.name] = self._rules(hosted, interface, before)
        return rules

    def _rules(self, hosted: Hosted, interface: Interface, before: BoxRules) -> BoxRules:
        if interface.is_gone:
            return absent(interface)
        if hosted.policy is None:
            return closed(interface)
        rules = rules_of(interface, hosted.policy, before, self._grants)
        return sealed(rules, interface, self._seals.of(hosted))


def _failed(hosted: Hosted, reason: object) -> Hosted:
    """The box closed, because of that; one whose interface is gone stays so."""
    if hosted.standing is Standing.GONE:
        return hosted
    return hosted.closed(Standing.FAILED, str(reason))


def results_of(touched: Iterable[Hosted]) -> list[Result]:
    """Return what the acknowledgement must say."""
    found = (result_of(hosted) for hosted in touched)
    return [result for result in found if result is not None]
