"""Which addresses may a box reach by name, and until when? Pure.

A lease binds a name to an address, and has a grant of its own. Until its end, new connections may
begin; after it, those that carry its grant go on, and it is forgotten when there are none. So:

    api.example.com  8.8.4.4  grant 17  live       lease4 {7 . 8.8.4.4 : 0x08000011}  live {7 . 17}
    cdn.example.com  8.8.4.4  grant 18  live       live {7 . 18}
    old.example.com  1.1.1.1  grant 9   ended      live {7 . 9}

An address that several names share has one element; which grant it holds only matters to what is
not TCP. Withdrawing a lease withdraws its connections and no others.

A plan says what changes; when the kernel has done it, `adopt` the plan.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from boxwall.policy import Address, Name
from boxwall_agent.marks import Grant

Key: TypeAlias = tuple[Name, Address]

_SHORT_OF_NAME: Final = 8
_FREED_OF_NAME: Final = 4
_SHORT_OF_BOX: Final = 32
_FREED_OF_BOX: Final = 16
"""Who has less than an eighth of its leases left is short of them, and gets a quarter free: one
answer brings many, and the next must not have to wait.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseBounds:
    """How many leases there may be, ended ones that connections still need in them."""

    of_a_box: int = 4096
    of_a_name: int = 256
    """Of one box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One name at one address. `end` is in the clock's seconds."""

    name: Name
    address: Address
    grant: Grant
    end: float

    @property
    def key(self) -> Key:
        """What tells it from others of its box."""
        return self.name, self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePlan:
    """What changes, and what the kernel must hold for it."""

    added: tuple[Lease, ...] = ()
    """New, or with another end."""
    removed: tuple[Lease, ...] = ()
    live: frozenset[Grant] = frozenset()
    """Grants that come into force."""
    dead: frozenset[Grant] = frozenset()
    """Grants that are withdrawn."""
    addresses: Mapping[Address, Grant | None] = field(default_factory=dict)
    """Which grant each address that changes leads to now; None: it is not leased any more."""


class LeasesFull(Exception):
    """Every lease that the box may have is in use."""


class Leases:
    """The leases of one box."""

    def __init__(self, leases: Iterable[Lease] = (), bounds: LeaseBounds = LeaseBounds()) -> None:
        self._bounds = bounds
        self._leases: dict[Key, Lease] = {}
        self._ended: set[Key] = set()
        self._names_of: dict[Address, dict[Name, Lease]] = {}
        self._addresses_of: dict[Name, set[Address]] = {}
        self._chosen: dict[Address, Grant] = {}
        self._soonest = math.inf
        for lease in leases:
            self._put(lease)
            self._chosen.setdefault(lease.address, lease.grant)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __len__(self) -> int:
        return len(self._leases)

    def find(self, name: Name, address: Address) -> Lease | None:
        """Return a lease by which a connection may begin, or None."""
        return self._names_of.get(address, {}).get(name)

    def at(self, address: Address) -> list[Lease]:
        """Return the leases of an address by which connections may begin."""
        return list(self._names_of.get(address, {}).values())

    def cover(self, name: Name, addresses: Iterable[Address], end: float) -> bool:
        """Whether connections may begin by the name to all of these addresses until `end`."""
        found = (self.find(name, address) for address in addresses)
        return all(lease is not None and lease.end >= end for lease in found)

    @property
    def chosen(self) -> Mapping[Address, Grant]:
        """The grant that each leased address leads to."""
        return self._chosen

    @property
    def soonest_end(self) -> float:
        """`plan_end` has nothing to do before."""
        return self._soonest

    @property
    def spare(self) -> int:
        """How many more the box may have."""
        return self._bounds.of_a_box - len(self._leases)

    @property
    def has_ended(self) -> bool:
        """Whether some live on only for their connections."""
        return bool(self._ended)

    def plan_lease(
        self, name: Name, addresses: Iterable[Address], end: float, take: Callable[[], Grant]
    ) -> LeasePlan:
        """Lease these addresses for the name until `end`, or longer if they are already.

        An ended lease comes back with its grant. Raises LeasesFull, and whatever `take` raises.
        """
        added: list[Lease] = []
        live: set[Grant] = set()
        for address in dict.fromkeys(addresses):
            old = self._leases.get((name, address))
            if old is None:
                added.append(Lease(name=name, address=address, grant=take(), end=end))
                live.add(added[-1].grant)
            elif old.end < end:
                added.append(Lease(name=name, address=address, grant=old.grant, end=end))
        self._check_room(name, len(live))
        chosen = {
            lease.address: lease.grant for lease in added if lease.address not in self._chosen
        }
        return LeasePlan(added=tuple(added), live=frozenset(live), addresses=chosen)

    def plan_end(self, now: float) -> LeasePlan:
        """End what is over: nothing new begins by it. Its connections go on."""
        over = [
            lease
            for key, lease in self._leases.items()
            if lease.end <= now and key not in self._ended
        ]
        return LeasePlan(addresses=self._without(over))

    def plan_forget(self, is_carried: Callable[[Grant], bool], before: float) -> LeasePlan:
        """Forget leases that ended before `before`, and that no connection carries."""
        ended = (self._leases[key] for key in self._ended)
        return self._plan_removal(
            lease for lease in ended if lease.end < before and not is_carried(lease.grant)
        )

    def is_short(self, name: Name) -> bool:
        """Whether the box, or the name, soon can have no more."""
        return self._is_name_short(name) or self.spare < self._bounds.of_a_box / _SHORT_OF_BOX

    def plan_room(self, is_carried: Callable[[Grant], bool]) -> LeasePlan:
        """Withdraw leases that no connection carries, the soonest to end first, until there is room
        for more in the box, and in each of its names that is short of it.
        """
        bounds = self._bounds
        wanted = _part(bounds.of_a_box, _FREED_OF_BOX) - self.spare
        kept = bounds.of_a_name - _part(bounds.of_a_name, _FREED_OF_NAME)
        excess = Counter(
            {
                name: len(them) - kept
                for name, them in self._addresses_of.items()
                if self._is_name_short(name)
            }
        )
        removed: list[Lease] = []
        for lease in sorted((one for one in self if not is_carried(one.grant)), key=_end_of):
            if len(removed) < wanted or excess[lease.name] > 0:
                removed.append(lease)
                excess[lease.name] -= 1
        return self._plan_removal(removed)

    def plan_judged(self, is_allowed: Callable[[Name, Address], bool]) -> LeasePlan:
        """Withdraw, with their connections, those that a new policy does not allow."""
        return self._plan_removal(
            lease for lease in self if not is_allowed(lease.name, lease.address)
        )

    def adopt(self, plan: LeasePlan, now: float) -> None:
        """The kernel has done it. `now` is what `plan_end` was asked with, where it was."""
        for lease in plan.removed:
            self._remove(lease)
        for lease in plan.added:
            self._put(lease)
        for address, grant in plan.addresses.items():
            if grant is None:
                self._chosen.pop(address, None)
            else:
                self._chosen[address] = grant
            for lease in self.at(address):
                if lease.end <= now:
                    self._end(lease)
        if self._soonest <= now:
            running = (one.end for one in self if one.key not in self._ended)
            self._soonest = min(running, default=math.inf)

    def _plan_removal(self, which: Iterable[Lease]) -> LeasePlan:
        removed = tuple(which)
        return LeasePlan(
            removed=removed,
            dead=frozenset(lease.grant for lease in removed),
            addresses=self._without(removed),
        )

    def _without(self, leases: Iterable[Lease]) -> dict[Address, Grant | None]:
        """What the addresses of these leases lead to without them."""
        gone: dict[Address, set[Name]] = {}
        for lease in leases:
            gone.setdefault(lease.address, set()).add(lease.name)
        changed: dict[Address, Grant | None] = {}
        for address, names in gone.items():
            left = [lease for lease in self.at(address) if lease.name not in names]
            chosen = self._chosen.get(address)
            if any(lease.grant == chosen for lease in left):
                changed[address] = chosen
            elif chosen is not None:
                changed[address] = left[0].grant if left else None
        return changed

    def _is_name_short(self, name: Name) -> bool:
        most = self._bounds.of_a_name
        return most - len(self._addresses_of.get(name, ())) < most / _SHORT_OF_NAME

    def _check_room(self, name: Name, more: int) -> None:
        of_name = len(self._addresses_of.get(name, ()))
        bounds = self._bounds
        if len(self._leases) + more > bounds.of_a_box or of_name + more > bounds.of_a_name:
            raise LeasesFull(f"{name} needs {more} more leases than the box may have")

    def _put(self, lease: Lease) -> None:
        self._leases[lease.key] = lease
        self._ended.discard(lease.key)
        self._soonest = min(self._soonest, lease.end)
        self._names_of.setdefault(lease.address, {})[lease.name] = lease
        self._addresses_of.setdefault(lease.name, set()).add(lease.address)

    def _end(self, lease: Lease) -> None:
        self._ended.add(lease.key)
        names = self._names_of.get(lease.address, {})
        names.pop(lease.name, None)
        if not names:
            self._names_of.pop(lease.address, None)

    def _remove(self, lease: Lease) -> None:
        self._end(lease)
        self._ended.discard(lease.key)
        self._leases.pop(lease.key, None)
        addresses = self._addresses_of.get(lease.name, set())
        addresses.discard(lease.address)
        if not addresses:
            self._addresses_of.pop(lease.name, None)


def _part(of: int, one_in: int) -> int:
    return max(of // one_in, 1)


def _end_of(lease: Lease) -> float:
    return lease.end
