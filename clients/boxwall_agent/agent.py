"""The node's side of everything: what is attached, what the control plane says, what is in force.

The order of each change is its promise: state file and kernel (see `ledger`), then acknowledgement.
No method waits while it changes anything, so none can be cancelled half-way.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Final, assert_never

import structlog

from boxwall.policy import Address, Name
from boxwall.wire.entries import (
    Bookmark,
    Changes,
    Entry,
    Fenced,
    GoAway,
    Held,
    Incoming,
    NotUnderstood,
    Reset,
    Result,
)
from boxwall_agent.audit import Changed, grants_of
from boxwall_agent.enforcer import Enforcer, results_of
from boxwall_agent.errors import AgentError, KernelError, StateUnusable
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.leases import LeasesFull
from boxwall_agent.ledger import Ledger
from boxwall_agent.link_news import Link
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State
from boxwall_agent.wanted import after_entries, all_closed, as_linked, without_interface

FENCED: Final = "this node is shut out by an operator; `boxwall node unfence` lets it in again"
NOT_UNDERSTOOD: Final = "the control plane says what this agent does not know; update the agent"

_log = structlog.get_logger()


class Agent:
    """The boxes of one node. All methods run on one event loop."""

    def __init__(
        self, enforcer: Enforcer, state: State, observe_apply: Callable[[float], None]
    ) -> None:
        """`observe_apply` is told the seconds that the kernel took for each message."""
        self._enforcer = enforcer
        self._state = state
        self._ledger = Ledger(enforcer, state, observe_apply)
        self._pages: list[Entry] = []
        self._changed: list[asyncio.Future[None]] = []
        self.on_hosting: Callable[[str, bool], None] = lambda box_id, is_hosted: None
        """Told when a box is attached (True) or detached."""
        self.on_room_needed: Callable[[], None] = lambda: None
        """Told when a box may have no more leases."""
        self.on_changed: list[Callable[[Changed], None]] = []
        """Told of each box whose policy changed, once it is in force."""
        self.on_detached: Callable[[str], None] = lambda box_id: None
        """Told when a box is gone from here."""
        self.on_attached: Callable[[], None] = lambda: None
        """Told when a box was attached: what was found of its interface may be old already."""
        self.on_failed: Callable[[Sequence[Result]], None] = lambda results: None
        """Told what the control plane must know of boxes that the node closed."""

    @property
    def hosted(self) -> Sequence[Hosted]:
        """The boxes, by id."""
        return [self._enforcer.hosted[box_id] for box_id in sorted(self._enforcer.hosted)]

    def find(self, box_id: str) -> Hosted | None:
        """Return a box, or None."""
        return self._enforcer.hosted.get(box_id)

    def held(self) -> list[Held]:
        """What to say when a stream begins."""
        return [hosted.held for hosted in self.hosted if not hosted.is_forgotten]

    # From programs on the node.

    async def attach(self, box_id: str, interfaces: Sequence[Interface]) -> Hosted:
        """Police the interfaces as the box's; return when it is known what the policy is.

        From the start of the call on, nothing passes that no policy has allowed. Raises
        CannotAttach, StateUnusable. Cancelled, or not remembered, the box stays attached and
        closed.
        """
        hosted = self._ledger.attach(box_id, interfaces)
        if hosted.standing is not Standing.ENFORCED:
            self.on_hosting(box_id, True)
            self.on_attached()
            _log.info("attached", box=box_id, interfaces=[one.name for one in interfaces])
        while hosted.standing is Standing.WAITING:
            await self._change()
            hosted = self._enforcer.hosted.get(box_id, hosted)
        return hosted

    def detach(self, box_id: str) -> bool:
        """Police the box's interfaces no more. False: there is no such box. Raises AgentError."""
        hosted = self._ledger.detach(box_id)
        if hosted is None:
            return False
        if not hosted.is_forgotten:
            self.on_hosting(box_id, False)
        self.on_detached(box_id)
        _log.info("detached", box=box_id)
        return True

    # From the control plane.

    def receive(self, incoming: Incoming) -> tuple[str, list[Result]] | None:
        """Do what the control plane says; return the cursor to acknowledge, and what to say of it.

        None: there is nothing to acknowledge (yet).
        """
        match incoming:
            case Reset():
                self._pages += incoming.entries
                if not incoming.last:
                    return None
                pages, self._pages = self._pages, []
                return self._apply(pages, incoming.cursor, is_whole=True)
            case Changes():
                return self._apply(incoming.entries, incoming.cursor, is_whole=False)
            case Bookmark():
                return self._apply((), incoming.cursor, is_whole=False)
            case Fenced():
                self.close_all(FENCED)
                return None
            case NotUnderstood():
                self.close_all(NOT_UNDERSTOOD)
                return None
            case GoAway():
                return None
            case _:
                assert_never(incoming)

    def stream_begins(self) -> None:
        """Pages of a stream that broke are worth nothing."""
        self._pages = []

    def close_all(self, message: str) -> None:
        """Deny everything for every box, until the control plane says otherwise."""
        granted = self._granted()
        closed = self._ledger.put(all_closed(self.hosted, Standing.SHUT_OUT, message), cursor="")
        _log.warning("all_closed", boxes=len(closed), reason=message)
        self._notify()
        for hosted in closed:
            self._tell(self._changed_box(hosted, granted[hosted.box_id]))

    def remember_contact(self, at: float) -> None:
        """The control plane was heard then; the next agent counts from it."""
        try:
            self._state.save_contact(at)
        except StateUnusable as exc:
            _log.error("state_not_saved", error=str(exc))

    # From boxes: names.

    def lease(self, box_id: str, name: Name, addresses: Sequence[Address], seconds: float) -> bool:
        """Let the box reach these addresses by the name; in force and remembered on return.

        False: they could not be put in force.
        """
        hosted = self.find(box_id)
        if hosted is None:
            return False
        # In whole seconds: whoever asks again and again does not change a lease each time.
        leasing, end = self._enforcer.leasing, math.ceil(time.monotonic() + seconds)
        try:
            added = leasing.grant(hosted, name, addresses, end, self._enforcer.surroundings)
            if added:
                self._state.save_leases(box_id, added)
                if leasing.of(box_id).is_short(name):
                    self.on_room_needed()
        except LeasesFull:
            self.on_room_needed()
        except AgentError as exc:
            _log.error("not_leased", box=box_id, name=str(name), error=str(exc))
        else:
            return True
        return False

    def end_leases(self, now: float) -> None:
        """End what is over: connections go on, none begins. Raises KernelError."""
        for hosted in self.hosted:
            self._enforcer.leasing.end(hosted, now)

    def forget_leases(self, carried: Set[int], before: float) -> None:
        """Forget leases that ended before `before`, and whose grant no connection carries.

        Raises KernelError, StateUnusable.
        """
        for hosted in self.hosted:
            self._enforcer.leasing.forget(hosted, lambda grant: grant in carried, before)
        self._state.forget_leases(self._enforcer.leasing.take_withdrawn())

    # From the kernel.

    def interface_indexes(self) -> frozenset[int]:
        """The interfaces of all boxes, as far as they are there."""
        boxes = self._enforcer.hosted.values()
        indexes = {interface.index for one in boxes for interface in one.interfaces}
        return frozenset(indexes - {0})

    def interface_gone(self, index: int) -> None:
        """An interface was removed."""
        self._close_by_node(without_interface(self.hosted, index))

    def link_is(self, link: Link) -> None:
        """An interface of the node is so now. If it is a box's, it must be as it was attached, and
        none may lie upon a box's.

        A renamed interface stays policed by its index. What comes by a port has the index of what
        it is a port of, and what comes by a VLAN that of the VLAN, so these are taken down: nothing
        else stops it.
        """
        hosted, below = (self._enforcer.hosted_on(one) for one in (link.index, link.lower))
        if link.is_up and (below or (hosted and link.master)):
            self._enforcer.take_down(link)
        for one in (hosted, below):
            if one is not None:
                self._close_by_node(as_linked(one, link))

    def _close_by_node(self, wanted: Sequence[Hosted]) -> None:
        if not wanted:
            return
        granted = {one.box_id: self._grants_of(one) for one in wanted}
        closed = self._ledger.put(wanted)
        for hosted in closed:
            _log.warning("box_closed", box=hosted.box_id, reason=hosted.message)
        self._notify()
        self.on_failed(results_of(closed))
        for hosted in closed:
            self._tell(self._changed_box(hosted, granted[hosted.box_id]))

    def node_has(self, addresses: frozenset[Address]) -> bool:
        """The node's own addresses are these now. False: the kernel could not be told."""
        try:
            self._enforcer.node_has(addresses)
        except KernelError as exc:
            # Packets to the node itself are refused by the input chain whatever their address; what
            # somebody's DNAT leads elsewhere is not.
            _log.error("node_addresses_not_updated", error=str(exc))
            return False
        return True

    @property
    def is_in_doubt(self) -> bool:
        """Whether the kernel may hold something else than is meant."""
        return self._enforcer.is_in_doubt

    def repair(self) -> None:
        """Somebody may have changed the table: put everything in force anew. Raises KernelError."""
        self._enforcer.reinstall()
        _log.warning("table_repaired")

    def _apply(
        self, entries: Iterable[Entry], cursor: str, *, is_whole: bool
    ) -> tuple[str, list[Result]] | None:
        granted = self._granted(None if is_whole else entries)
        wanted = after_entries(
            self._enforcer.hosted,
            entries,
            is_whole=is_whole,
            enforces_names=self._enforcer.enforces_names,
        )
        touched = self._ledger.put(wanted, cursor or None)
        for hosted in touched:
            _log.info(
                "policy_applied",
                box=hosted.box_id,
                revision=hosted.revision,
                standing=hosted.standing.value,
            )
        self._notify()
        for hosted in touched:
            self._tell(self._changed_box(hosted, granted.get(hosted.box_id, frozenset())))
        return (cursor, results_of(touched)) if cursor else None

    def _granted(self, entries: Iterable[Entry] | None = None) -> dict[str, frozenset[int]]:
        """The grants in force of the boxes that are named; of all, if none are."""
        hosted = self._enforcer.hosted
        names = hosted if entries is None else {entry.box_id for entry in entries} & hosted.keys()
        return {name: self._grants_of(hosted[name]) for name in names}

    def _grants_of(self, hosted: Hosted) -> frozenset[int]:
        leases = self._enforcer.leasing.of(hosted.box_id)
        rules = self._enforcer.rules_of_box(hosted)
        return grants_of(rules) | {lease.grant for lease in leases}

    def _changed_box(self, hosted: Hosted, granted: frozenset[int]) -> Changed:
        return Changed(
            box_id=hosted.box_id,
            revision=hosted.revision,
            policy=hosted.policy,
            addresses=frozenset(a for one in hosted.interfaces for a in one.addresses),
            grants_before=granted,
            grants_now=self._grants_of(hosted),
        )

    def _tell(self, changed: Changed) -> None:
        for one in self.on_changed:
            one(changed)

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def _notify(self) -> None:
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)
