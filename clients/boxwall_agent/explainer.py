"""Gathers what is known of a destination, on the node and in its kernel, for an explanation."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from boxwall.policy import Address, Destination
from boxwall_agent.audit import Connection, is_open
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelError
from boxwall_agent.explaining import (
    Explanation,
    Facts,
    addresses_of,
    explain,
    leases_of,
)
from boxwall_agent.held import Held, Kind, held_for, is_live, lengths_in
from boxwall_agent.hosted import Hosted
from boxwall_agent.marks import grant_in

_DUMP_TIMEOUT: Final = 5.0
"""Seconds that a look at connection tracking may take."""


class Kernel(Protocol):
    """What is asked of nf_tables; see `nft.kernel.Nftables`."""

    def set_names(self) -> list[str]:
        """Return the names of the table's sets. Raises KernelError."""

    def find(self, name: str, key: bytes) -> bytes | None:
        """Look a key up in a set. Raises KernelError."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The open connections of one box, counted. Only those that carry a grant."""

    by_grant: Counter[int] = field(default_factory=Counter)
    to_address: Counter[Address] = field(default_factory=Counter)


class Explainer:
    """Answers what would become of connections. Changes nothing."""

    def __init__(
        self,
        enforcer: Enforcer,
        kernel: Kernel,
        opened_by: Callable[[Collection[Address]], Iterable[Connection]],
        http_ports: Iterable[int] = (),
    ) -> None:
        """`opened_by` is asked in a thread: it may take its time, and raise KernelError."""
        self._enforcer = enforcer
        self._kernel = kernel
        self._opened_by = opened_by
        self._http_ports = frozenset(http_ports)

    def explain(self, hosted: Hosted, asked: Destination) -> Explanation:
        """Explain one destination. Nothing changes meanwhile: it does not wait."""
        leases = self._enforcer.leasing.of(hosted.box_id)
        held: tuple[Held, ...] = ()
        live: frozenset[int] = frozenset()
        try:
            held = tuple(self._held(hosted, addresses_of(asked, leases)))
            live = frozenset(
                lease.grant
                for lease in leases_of(asked, leases)
                if all(is_live(self._kernel.find, at, lease.grant) for at in hosted.interfaces)
            )
        except KernelError as exc:
            held = tuple(_unknown(hosted, addresses_of(asked, leases), str(exc)))
        return explain(
            Facts(
                hosted=hosted,
                asked=asked,
                leases=leases,
                surroundings=self._enforcer.surroundings,
                names_enforced=self._enforcer.enforces_names,
                http_ports=self._http_ports,
                held=held,
                live=live,
            )
        )

    async def carried(self, hosted: Hosted) -> Carried | None:
        """Count the box's open connections. None: the kernel did not say."""
        sources = {address for one in hosted.interfaces for address in one.addresses}

        def count() -> Carried:
            carried = Carried()
            for one in self._opened_by(sources):
                if is_open(one) and grant_in(one.mark):
                    carried.by_grant[grant_in(one.mark)] += 1
                    carried.to_address[one.destination] += 1
            return carried

        try:
            async with asyncio.timeout(_DUMP_TIMEOUT):
                return await asyncio.to_thread(count)
        except (KernelError, TimeoutError):
            return None

    def _held(self, hosted: Hosted, addresses: Sequence[Address]) -> Iterable[Held]:
        lengths = lengths_in(self._kernel.set_names()) if addresses else ()
        for address in addresses:
            for interface in hosted.interfaces:
                yield held_for(self._kernel.find, interface, address, lengths)


def _unknown(hosted: Hosted, addresses: Sequence[Address], why: str) -> Iterable[Held]:
    for address in addresses:
        for interface in hosted.interfaces:
            yield Held(
                interface=interface.name, address=address, kind=Kind.UNKNOWN, why_unknown=why
            )
