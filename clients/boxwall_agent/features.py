"""What can this machine enforce? Asked of the kernel, without changing anything.

A rehearsal is a transaction whose last step must fail: if the kernel complains of that step and of
no earlier one, it can do all the others, and has done nothing.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from boxwall_agent.bpf.load import ProgramRefused, load_displaced_checksum
from boxwall_agent.conntrack import connections
from boxwall_agent.errors import KernelError, KernelRejected, KernelUnusable
from boxwall_agent.nft import layout
from boxwall_agent.nft.batch import BRIDGE, INET, NEVER, Batch, TableFlags
from boxwall_agent.nft.expressions import (
    counter,
    log,
    matches_program,
    notrack,
    queue,
    queue_by_target,
)
from boxwall_agent.nft.family import FAMILIES
from boxwall_agent.nft.kernel import Nftables, open_nftables
from boxwall_agent.nft.naming import QUEUE, Naming
from boxwall_agent.nft.objects import Chain, Hook, HookPoint, Rule
from boxwall_agent.port_guard import add_guard

_TABLE: Final = "boxwall_rehearsal"
_NO_QUEUE: Final = Naming(dns_port=53, relay_port=80, http_ports=(80,), queue=counter())
"""As an agent's, with something harmless for the queue, which is asked for by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One thing that the agent uses, and what it means if it is not there."""

    name: str
    is_there: bool
    found: str
    meaning: str
    advice: str
    is_needed: bool
    """Whether the agent refuses to start without it."""


def features() -> Iterator[Feature]:
    """Ask for everything. Yields nothing but the reason if nf_tables cannot be asked."""
    try:
        nft = open_nftables()
    except KernelUnusable as exc:
        yield Feature(
            name="nf_tables",
            is_there=False,
            found=str(exc),
            meaning="the part of the kernel that enforces policies",
            advice="run as root on Linux with nf_tables (modprobe nf_tables)",
            is_needed=True,
        )
        return
    with nft:
        yield _feature(nft, "rules", _whole_table, _RULES, is_needed=True)
        yield _feature(nft, "table owner", _owned_table, _OWNER, is_needed=False)
        yield _feature(nft, "records", _records, _RECORDS, is_needed=True)
        yield _feature(nft, "bridge ports", add_guard, _PORTS, is_needed=False, family=BRIDGE)
        yield _reading(nft)
        yield _checksums(nft)
        yield _conntrack()


_RULES: Final = (
    "sets, maps, conntrack marks, limits and resets, for IPv4 and IPv6",
    "load nf_tables and nf_conntrack with all their expressions (package linux-modules-extra)",
)
_OWNER: Final = (
    "nobody but the agent changes its table, and the table outlives the agent",
    "use Linux 6.9 or newer; without, changes by others are repaired, not prevented",
)
_RECORDS: Final = (
    "refused packets are told one by one (NFLOG)",
    "load nft_log and nfnetlink_log",
)


_PORTS: Final = (
    "a box's link that is made a port of a bridge passes nothing (family bridge)",
    "load nf_tables_bridge, or use a kernel that has it; without, the agent takes such a link down "
    "when it hears of it",
)


def _feature(
    nft: Nftables,
    name: str,
    steps: Callable[[Batch], None],
    words: tuple[str, str],
    *,
    is_needed: bool,
    family: int = INET,
) -> Feature:
    lack = rehearse(nft, steps, family)
    meaning, advice = words
    return Feature(
        name=name,
        is_there=not lack,
        found=lack or "the kernel has it",
        meaning=meaning,
        advice=advice,
        is_needed=is_needed,
    )


def rehearse(nft: Nftables, steps: Callable[[Batch], None], family: int = INET) -> str:
    """Return what the kernel would refuse of a transaction. Empty: nothing. Changes nothing."""
    batch = Batch(_TABLE, family=family)
    steps(batch)
    batch.fail()
    try:
        nft.commit(batch)
    except KernelRejected as exc:
        if exc.step == NEVER and exc.errno == errno.ENOENT:
            return ""
        return str(exc)
    except KernelError as exc:
        return str(exc)
    raise AssertionError("a rehearsal was performed")


def known_queue(nft: Nftables) -> tuple[str, bytes] | None:
    """Return the expression by which this kernel hands packets to the agent, and what it is called.

    None: it has neither.
    """
    for name, expression in (
        ("the queue expression", queue(QUEUE)),
        ("the target NFQUEUE", queue_by_target(QUEUE)),
    ):

        def steps(batch: Batch, rule: bytes = expression) -> None:
            batch.add_table()
            batch.add_chain(Chain(name="in", hook=Hook(point=HookPoint.PREROUTING, priority=-190)))
            batch.add_rule(Rule("in", (rule,)))

        if not rehearse(nft, steps):
            return name, expression
    return None


@contextmanager
def displaced_checksum(nft: Nftables) -> Iterator[bytes]:
    """The expression that finds packets whose checksum would be written where it was judged; it can
    be used in new rules for as long as the context lasts. Raises ProgramRefused.
    """
    descriptor = load_displaced_checksum()
    try:
        expression = matches_program(descriptor)

        def steps(batch: Batch) -> None:
            batch.add_table()
            batch.add_chain(Chain(name="in", hook=Hook(point=HookPoint.PREROUTING, priority=-190)))
            batch.add_rule(Rule("in", (expression,)))

        lack = rehearse(nft, steps)
        if lack:
            raise ProgramRefused(f"nf_tables does not take the match of xt_bpf: {lack}")
        yield expression
    finally:
        os.close(descriptor)


def _checksums(nft: Nftables) -> Feature:
    try:
        with displaced_checksum(nft):
            found, is_there = "the kernel tells where they go (BPF)", True
    except ProgramRefused as exc:
        found, is_there = str(exc), False
    return Feature(
        name="checksums",
        is_there=is_there,
        found=found,
        meaning="a packet whose checksum would be written into what was judged is dropped",
        advice="load nft_compat and xt_bpf, on a kernel with BTF; without, root in a box can "
        "change where an IPv6 packet goes (SECURITY.md)",
        is_needed=False,
    )


def _reading(nft: Nftables) -> Feature:
    known = known_queue(nft)
    return Feature(
        name="first bytes",
        is_there=known is not None,
        found="the kernel has neither queue nor NFQUEUE" if known is None else known[0],
        meaning="what is allowed by name is read (TLS, HTTP), and refused if it names another",
        advice="load nft_queue, or nft_compat and xt_NFQUEUE; without, no name is reachable",
        is_needed=False,
    )


def _whole_table(batch: Batch) -> None:
    batch.add_table()
    for made in layout.sets(layout.PerBox()):
        batch.add_set(made)
    for chain in layout.chains():
        batch.add_chain(chain)
    for family in FAMILIES:
        for made in layout.length_sets(family, family.key_lengths[1]):
            batch.add_set(made)
        for rule in layout.length_rules(family, family.key_lengths[1]):
            batch.add_rule(rule)
    for rule in layout.rules(_NO_QUEUE):
        batch.add_rule(rule)


def _owned_table(batch: Batch) -> None:
    batch.add_table(TableFlags.OWNER | TableFlags.PERSIST)


def _records(batch: Batch) -> None:
    batch.add_table()
    batch.add_chain(Chain(name="out", hook=Hook(point=HookPoint.OUTPUT, priority=-300)))
    batch.add_rule(Rule("out", (log(layout.LOG_GROUP, "rehearsal", copied_bytes=1),)))
    batch.add_rule(Rule("out", (notrack(),)))


def _conntrack() -> Feature:
    try:
        found = f"{sum(1 for _ in connections())} connections are tracked"
        is_there = True
    except KernelError as exc:
        found, is_there = str(exc), False
    return Feature(
        name="connections",
        is_there=is_there,
        found=found,
        meaning="no grant is given twice; what a change kept and cut is counted, and both ends "
        "are told (ctnetlink)",
        advice="load nf_conntrack_netlink",
        is_needed=True,
    )
