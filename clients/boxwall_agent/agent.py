"""The node's side of everything: what is attached, what the control plane says, what is in force.

The order of each change is its promise: kernel, then state file, then acknowledgement. No method
waits while it changes anything, so none can be cancelled half-way.
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
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State

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
        self._observe_apply = observe_apply
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

    @property
    def hosted(self) -> Sequence[Hosted]:
        """The boxes, by id."""
        return [self._enforcer.hosted[box_id] for box_id in sorted(self._enforcer.hosted)]

    def find(self, box_id: str) -> Hosted | None:
        """Return a box, or None."""
        return self._enforcer.hosted.get(box_id)

    def held(self) -> list[Held]:
        """What to say when a stream begins."""
        return [hosted.held for hosted in self.hosted]

    # From programs on the node.

    async def attach(self, box_id: str, interfaces: Sequence[Interface]) -> Hosted:
        """Police the interfaces as the box's; return when it is known what the policy is.

        From the start of the call on, nothing passes that no policy has allowed. Raises
        CannotAttach, StateUnusable. Cancelled, the box stays attached and closed.
        """
        hosted = self._enforcer.attach(box_id, interfaces)
        if hosted.standing is not Standing.ENFORCED:
            self._save([hosted])
            self.on_hosting(box_id, True)
            _log.info("attached", box=box_id, interfaces=[one.name for one in interfaces])
        while hosted.standing is Standing.WAITING:
            await self._change()
            hosted = self._enforcer.hosted.get(box_id, hosted)
        return hosted

    def detach(self, box_id: str) -> bool:
        """Police the box's interfaces no more. False: there is no such box. Raises AgentError."""
        hosted = self._enforcer.detach(box_id)
        if hosted is None:
            return False
        self._enforcer.leasing.take_withdrawn()
        self._state.forget(box_id)
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
        closed = self._enforcer.close(Standing.SHUT_OUT, message)
        _log.warning("all_closed", boxes=len(closed), reason=message)
        try:
            self._save(closed, cursor="")
        except StateUnusable as exc:
            _log.error("state_not_saved", error=str(exc))
        self._notify()
        for hosted in closed:
            self._tell(self._changed_box(hosted, granted[hosted.box_id]))

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
                self._state.save_leases(box_id, added, next_grant=self._enforcer.next_grant)
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
        """The interfaces of all boxes."""
        boxes = self._enforcer.hosted.values()
        return frozenset(interface.index for one in boxes for interface in one.interfaces)

    def interface_gone(self, index: int) -> None:
        """An interface was removed."""
        gone = [
            one for one in self._enforcer.interface_gone(index) if one.standing is Standing.GONE
        ]
        if gone:
            _log.warning("interface_gone", boxes=[one.box_id for one in gone])
            self._save_quietly(gone)
            self._notify()

    def node_has(self, addresses: frozenset[Address]) -> None:
        """The node's own addresses are these now."""
        try:
            self._enforcer.node_has(addresses)
        except KernelError as exc:
            # Packets to the node itself are refused by the input chain whatever their address.
            _log.error("node_addresses_not_updated", error=str(exc))

    def repair(self) -> bool:
        """Somebody may have changed the table: put everything in force anew if it is not.

        Returns whether that was needed. Raises KernelError.
        """
        if self._enforcer.is_in_force():
            return False
        self._enforcer.reinstall()
        _log.warning("table_repaired")
        return True

    def _apply(
        self, entries: Iterable[Entry], cursor: str, *, is_whole: bool
    ) -> tuple[str, list[Result]] | None:
        granted = self._granted(None if is_whole else entries)
        began = time.perf_counter()
        touched = self._enforcer.apply(entries, is_whole=is_whole)
        if touched:
            self._observe_apply(time.perf_counter() - began)
        results = results_of(touched)
        try:
            self._save(touched, cursor=cursor or None)
        except StateUnusable as exc:
            results = self._not_remembered(touched, str(exc))
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
        return (cursor, results) if cursor else None

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

    def _not_remembered(self, touched: Sequence[Hosted], error: str) -> list[Result]:
        """What is not remembered must not be promised: after a restart an older policy, perhaps a
        wider one, would be in force.
        """
        _log.error("state_not_saved", error=error)
        if not touched:
            return []
        closed = self._enforcer.close_some(touched, Standing.FAILED, error)
        return results_of(closed)

    def _save_quietly(self, boxes: Sequence[Hosted]) -> None:
        try:
            self._save(boxes)
        except StateUnusable as exc:
            _log.error("state_not_saved", error=str(exc))

    def _save(self, boxes: Sequence[Hosted], cursor: str | None = None) -> None:
        self._state.save(
            boxes,
            next_grant=self._enforcer.next_grant,
            cursor=cursor,
            withdrawn=self._enforcer.leasing.take_withdrawn(),
        )

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def _notify(self) -> None:
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)
