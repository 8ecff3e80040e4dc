"""In which order are the file and the kernel told, so that a kill in between opens nothing?

    a policy    file, kernel        the next agent goes on to what was wanted, never back
    attach      kernel, file        it closes; what is policed and not remembered stays closed
    detach      file, kernel        likewise

No method waits, so none can be cancelled half-way.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError, StateUnusable
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.leases import Lease
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State

_log = structlog.get_logger()


class Ledger:
    """The boxes, as the file and the kernel have them."""

    def __init__(
        self, enforcer: Enforcer, state: State, observe_apply: Callable[[float], None]
    ) -> None:
        """`observe_apply` is told the seconds that the kernel took for each message."""
        self._enforcer = enforcer
        self._state = state
        self._observe_apply = observe_apply

    def put(self, wanted: Sequence[Hosted], cursor: str | None = None) -> Sequence[Hosted]:
        """Make the boxes so; return them as they are then. `cursor`: that of what asks for it.

        A policy that cannot be remembered is not put in force: after a restart an older one,
        perhaps wider, would be. What only closes needs no memory: the kernel has it.
        """
        try:
            self._save(wanted, cursor)
        except StateUnusable as exc:
            _log.error("state_not_saved", error=str(exc))
            wanted = [self._without_memory(one, str(exc)) for one in wanted]
        began = time.perf_counter()
        done = self._enforcer.put(wanted)
        if done:
            self._observe_apply(time.perf_counter() - began)
        otherwise = [one for one, meant in zip(done, wanted, strict=True) if one != meant]
        withdrawn = self._enforcer.leasing.take_withdrawn()
        if otherwise or withdrawn:
            self._save_quietly(otherwise, withdrawn)
        return done

    def attach(self, box_id: str, interfaces: Sequence[Interface]) -> Hosted:
        """Police the interfaces as the box's. Raises CannotAttach; StateUnusable, and the box is
        attached and closed.
        """
        hosted = self._enforcer.attach(box_id, interfaces)
        if hosted.standing is not Standing.ENFORCED:
            self._save([hosted], withdrawn=self._enforcer.leasing.take_withdrawn())
        return hosted

    def detach(self, box_id: str) -> Hosted | None:
        """Police the box's interfaces no more. None: there is no such box.

        Raises StateUnusable, having changed nothing, and what `Enforcer.detach` raises.
        """
        if box_id not in self._enforcer.hosted:
            return None
        self._state.forget(box_id)
        try:
            return self._enforcer.detach(box_id)
        except KernelError:
            self._save_quietly([self._enforcer.hosted[box_id]])
            raise
        finally:
            self._enforcer.leasing.take_withdrawn()

    def _without_memory(self, wanted: Hosted, error: str) -> Hosted:
        """Closed, unless it is what it has been."""
        if wanted.policy is None or wanted == self._enforcer.hosted.get(wanted.box_id):
            return wanted
        return wanted.closed(Standing.FAILED, error)

    def _save_quietly(
        self, boxes: Iterable[Hosted], withdrawn: Iterable[tuple[str, Lease]] = ()
    ) -> None:
        try:
            self._save(boxes, withdrawn=withdrawn)
        except StateUnusable as exc:
            _log.error("state_not_saved", error=str(exc))

    def _save(
        self,
        boxes: Iterable[Hosted],
        cursor: str | None = None,
        withdrawn: Iterable[tuple[str, Lease]] = (),
    ) -> None:
        remembered = [one for one in boxes if not one.is_forgotten]
        self._state.save(remembered, cursor=cursor, withdrawn=withdrawn)
