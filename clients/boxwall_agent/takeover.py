"""An agent starts: what it remembers and what it finds in the kernel become what is in force."""

import asyncio
import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from boxwall.policy import Address
from boxwall_agent import conntrack
from boxwall_agent.config import AgentConfig
from boxwall_agent.enforcer import Enforcer, Ports, Switch, Unguarded
from boxwall_agent.errors import KernelError, KernelRejected, KernelUnusable
from boxwall_agent.grants import GrantPool
from boxwall_agent.in_force import InForce
from boxwall_agent.leases import Lease, LeaseBounds
from boxwall_agent.link_news import Link
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.nft.kernel import FoundTable, Nftables
from boxwall_agent.nft.naming import Naming
from boxwall_agent.port_guard import PortGuard
from boxwall_agent.restored import Restored
from boxwall_agent.rtnetlink import links, node_addresses
from boxwall_agent.state import State
from boxwall_agent.table import Shared, Table
from boxwall_agent.wanted import at_start

_NOT_KNOWN: Final = (errno.EOPNOTSUPP, errno.EINVAL)
"""What a kernel answers to table flags that it does not know."""

_READ_TWICE: Final = ("boxes", "hosted")
"""A set that has just grown is moved to more room by a worker of the kernel, and a list that is
read meanwhile lacks elements. What lacks in others cuts a connection; in these it would free a box.
"""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an agent finds on the node when it starts."""

    restored: Restored | None
    """None: no table."""
    existing: Mapping[int, Link]
    """Every interface, by index."""
    carried: frozenset[int]
    """Grants that connections carry."""


async def take_over(
    config: AgentConfig,
    state: State,
    nft: Nftables,
    switch: Switch,
    table: FoundTable | None,
    naming: Naming | None,
    displaced: bytes | None,
) -> Enforcer:
    """Put what is remembered in force, in place of what an earlier agent left, at one instant.

    Raises KernelUnusable, StateUnusable.
    """
    try:
        existing, addresses, carried = await asyncio.to_thread(_look)
    except KernelError as exc:
        raise KernelUnusable(f"{exc}; load the module nf_conntrack_netlink") from exc
    restored = None
    if table is not None:
        names = (*nft.set_names(), *_READ_TWICE)
        restored = Restored.of(e for name in names for e in nft.elements(name))
    shared = Shared(
        per_box=config.per_box,
        blocked=config.blocked,
        inbound_from=config.inbound_from,
        node_addresses=addresses | config.node_addresses,
        named_addresses=config.node_addresses,
        naming=naming,
        displaced=displaced,
    )
    found = Found(restored=restored, existing=existing, carried=carried)
    for flags in (TableFlags.OWNER | TableFlags.PERSIST, TableFlags.NONE):
        try:
            in_force = InForce(nft, Table(shared), flags)
            ports = PortGuard(nft, flags)
            return resume(state, in_force, switch, found, config.leases, ports)
        except KernelRejected as exc:
            if flags and exc.errno in _NOT_KNOWN and exc.step == "table":
                _log.warning("table_without_owner", reason="the kernel is older than 6.9")
                continue
            raise KernelUnusable(str(exc)) from exc
    raise AssertionError("the last flags return or raise")


def resume(
    state: State,
    in_force: InForce,
    switch: Switch,
    found: Found,
    bounds: LeaseBounds = LeaseBounds(),
    ports: Ports = Unguarded(),
) -> Enforcer:
    """Go on from what is remembered and what was found. Raises KernelError, StateUnusable."""
    leases = state.leases()
    taken = found.carried | _grants_of(leases, found.restored)
    hosted = at_start(
        state.hosted(), found.restored, found.existing, is_same_place=state.is_of_this_place
    )
    grants = GrantPool(taken, partial(_grants_in_use, in_force))
    enforcer = Enforcer(in_force, grants, switch, bounds, ports)
    enforcer.start(hosted, found.restored, leases=leases)
    for one in hosted:
        if one.is_forgotten:
            _log.error("box_forgotten", interface=one.interfaces[0].name, advice=one.message)
    remembered = [one for one in hosted if not one.is_forgotten]
    state.save(remembered, withdrawn=enforcer.leasing.take_withdrawn())
    return enforcer


def found_table(nft: Nftables) -> FoundTable | None:
    """What an earlier agent left, if anything. Raises KernelUnusable if it is not for us."""
    found = nft.table()
    if found is not None and not found.is_ours:
        raise KernelUnusable(
            "there is a table `inet boxwall` that Boxwall did not make; if nobody needs it, "
            "delete it with `nft delete table inet boxwall`"
        )
    if found is not None and found.owner:
        raise KernelUnusable("another agent is running in this network namespace; stop it first")
    return found


def _look() -> tuple[dict[int, Link], frozenset[Address], frozenset[int]]:
    """At the node: its interfaces, its addresses, and the grants that connections carry."""
    return links(), node_addresses(), conntrack.grants()


def _grants_of(leases: Mapping[str, Iterable[Lease]], restored: Restored | None) -> frozenset[int]:
    """Every grant that was given and may come, or has come, into force again."""
    of_leases = (lease.grant for several in leases.values() for lease in several)
    return frozenset(of_leases) | (frozenset() if restored is None else restored.grants)


def _grants_in_use(in_force: InForce) -> frozenset[int]:
    """No number is given again that lets something pass, or that a connection carries."""
    return in_force.grants() | conntrack.grants()
