"""What boxes reach by name: leases, in the kernel before anybody hears of them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from boxwall.policy import (
    Address,
    Destination,
    Name,
    Policy,
    Surroundings,
    decide,
    matching_domain,
)
from boxwall_agent.grants import GrantPool
from boxwall_agent.hosted import Hosted
from boxwall_agent.in_force import InForce
from boxwall_agent.leases import Lease, LeaseBounds, LeasePlan, Leases
from boxwall_agent.marks import Grant
from boxwall_agent.restored import Restored
from boxwall_agent.ruleset import Slot, lease_slots


class Leasing:
    """The leases of every box. What changes the kernel raises KernelError, having changed nothing
    here.
    """

    def __init__(
        self, in_force: InForce, grants: GrantPool, bounds: LeaseBounds = LeaseBounds()
    ) -> None:
        self._in_force = in_force
        self._grants = grants
        self._bounds = bounds
        self._leases: dict[str, Leases] = {}
        self._withdrawn: list[tuple[str, Lease]] = []

    def take_withdrawn(self) -> Sequence[tuple[str, Lease]]:
        """Return what was withdrawn since this was asked last, with the box it was of."""
        withdrawn, self._withdrawn = self._withdrawn, []
        return withdrawn

    def of(self, box_id: str) -> Leases:
        """The box's leases; empty if it has none."""
        return self._leases.get(box_id) or Leases(bounds=self._bounds)

    def all(self) -> Mapping[str, Leases]:
        """The leases of every box that has or had any."""
        return self._leases

    def grant(
        self,
        hosted: Hosted,
        name: Name,
        addresses: Sequence[Address],
        end: float,
        surroundings: Surroundings,
    ) -> Sequence[Lease]:
        """Let the box reach these addresses by the name until `end`; return what is new.

        What the policy does not allow is left out. In force on return. Raises LeasesFull,
        NoGrantsLeft too.
        """
        leases = self._leases.setdefault(hosted.box_id, Leases(bounds=self._bounds))
        if leases.cover(name, addresses, end):
            return ()  # most answers come from the cache; a policy that changes ends leases itself
        allowed = (one for one in addresses if is_leasable(hosted.policy, name, one, surroundings))
        plan = leases.plan_lease(name, allowed, end, self._grants.take)
        self._put(hosted, plan)
        return plan.added

    def end(self, hosted: Hosted, now: float) -> None:
        """End what is over; connections go on."""
        leases = self.of(hosted.box_id)
        if leases.soonest_end <= now:
            self._put(hosted, leases.plan_end(now), now)

    def forget(self, hosted: Hosted, is_carried: Callable[[Grant], bool], before: float) -> None:
        """Forget what ended before `before` and no connection carries.

        A box that may soon have no more loses others that are unused.
        """
        leases = self.of(hosted.box_id)
        self._put(hosted, leases.plan_forget(is_carried, before))
        self._put(hosted, leases.plan_room(is_carried))

    def withdrawn(self, box_id: str) -> LeasePlan:
        """What it takes to withdraw all of a box's leases."""
        return self.of(box_id).plan_judged(lambda name, address: False)

    def judged(self, hosted: Hosted, surroundings: Surroundings) -> LeasePlan:
        """What becomes of the box's leases under the policy that it has now."""
        return self.of(hosted.box_id).plan_judged(
            lambda name, address: is_leasable(hosted.policy, name, address, surroundings)
        )

    def adopt(self, plans: Mapping[str, LeasePlan]) -> None:
        """The kernel has done what these plans say, by box."""
        for box_id, plan in plans.items():
            self._adopt(box_id, plan, -math.inf)

    def restore(
        self,
        hosted: Hosted,
        leases: Iterable[Lease],
        surroundings: Surroundings,
        restored: Restored | None,
    ) -> LeasePlan:
        """Take what an earlier agent leased, if its table (`restored`) still had it and it is
        allowed still; return what the kernel needs. The others count as withdrawn.
        """
        kept = []
        for one in leases:
            was_live = restored is None or all(
                restored.is_live(interface, one.grant) for interface in hosted.interfaces
            )
            if was_live and is_leasable(hosted.policy, one.name, one.address, surroundings):
                kept.append(one)
            else:
                self._withdrawn.append((hosted.box_id, one))
        self._leases[hosted.box_id] = leases_now = Leases(kept, self._bounds)
        return LeasePlan(live=frozenset(one.grant for one in kept), addresses=leases_now.chosen)

    def drop(self, box_id: str) -> None:
        """The box is gone, with what the kernel held for it."""
        self._withdrawn += ((box_id, lease) for lease in self._leases.pop(box_id, ()))

    def _put(self, hosted: Hosted, plan: LeasePlan, now: float = -math.inf) -> None:
        self._in_force.change({}, slots_of(hosted, plan))
        self._adopt(hosted.box_id, plan, now)

    def _adopt(self, box_id: str, plan: LeasePlan, now: float) -> None:
        if box_id in self._leases:
            self._leases[box_id].adopt(plan, now)
            self._withdrawn += ((box_id, lease) for lease in plan.removed)


def slots_of(hosted: Hosted, plan: LeasePlan) -> dict[str, dict[Slot, bytes | None]]:
    """What changes in the kernel, by interface of the box."""
    return {one.name: lease_slots(one, plan) for one in hosted.interfaces}


def is_leasable(
    policy: Policy | None, name: Name, address: Address, surroundings: Surroundings
) -> bool:
    """Whether the policy allows the name by an entry, and nothing denies the address."""
    if policy is None or matching_domain(policy, name) is None:
        return False
    where = Destination(domain=name, address=address)
    return decide(policy, where, surroundings=surroundings).allowed
