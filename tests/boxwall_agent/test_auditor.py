"""What a change cut is counted and poked, however the first look ends."""

import asyncio
from collections.abc import Collection, Iterable, Sequence

import pytest

from boxwall.policy import Address, DenyAll
from boxwall.wire.entries import Result
from boxwall_agent import auditor as module
from boxwall_agent.audit import Changed, Connection
from boxwall_agent.auditor import Auditor
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.errors import KernelUnsure
from boxwall_agent.grants import GrantPool
from boxwall_agent.in_force import InForce
from boxwall_agent.nft.batch import TableFlags
from boxwall_agent.packets import TCP
from boxwall_agent.table import Shared, Table
from fakes.kernel import FakeKernel, FakeSwitch

ESTABLISHED = 3


class Watched:
    """An auditor whose connections, pokes and reports are here."""

    def __init__(self, found: Sequence[Connection], failures: int = 0) -> None:
        self.poked: list[Connection] = []
        self._wanted = 0
        self._are_poked = asyncio.Event()
        self.reported: list[Result] = []
        self._found = found
        self._failures = failures
        self.auditor = Auditor(an_enforcer(), self._poke, self.reported.extend, self._find)

    async def run_until_poked(self, count: int) -> None:
        """Run until so many were poked."""
        self._wanted = count
        async with asyncio.timeout(10):
            running = asyncio.create_task(self.auditor.run())
            await self._are_poked.wait()
            running.cancel()

    def _find(self, sources: Collection[Address]) -> Iterable[Connection]:
        if self._failures:
            self._failures -= 1
            raise KernelUnsure("too many at once")
        return [one for one in self._found if one.source in sources]

    def _poke(self, connection: Connection) -> None:
        self.poked.append(connection)
        if len(self.poked) == self._wanted:
            self._are_poked.set()


def an_enforcer() -> Enforcer:
    in_force = InForce(FakeKernel(), Table(Shared()), TableFlags.NONE)
    return Enforcer(in_force, GrantPool(), FakeSwitch())


def cut(number: int, port: int) -> Connection:
    return Connection(address(number), Address.parse("1.1.1.1"), TCP, port, 443, 1, ESTABLISHED)


def address(number: int) -> Address:
    return Address.parse(f"10.77.{number}.2")


def denied(number: int) -> Changed:
    return Changed(
        box_id=f"b{number}",
        revision=2,
        policy=DenyAll(),
        addresses=frozenset({address(number)}),
        grants_before=frozenset({1}),
        grants_now=frozenset(),
    )


async def test_a_look_that_failed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY", 0.0)
    watched = Watched([cut(1, 4000)], failures=1)
    watched.auditor.note(denied(1))
    await watched.run_until_poked(1)
    assert watched.reported == [
        Result(box_id="b1", revision=2, connections_kept=0, connections_cut=1)
    ]


async def test_a_box_with_many_connections_does_not_hold_back_the_pokes_of_another() -> None:
    watched = Watched([cut(1, port) for port in range(3_000)] + [cut(2, 4000)])
    watched.auditor.note(denied(1))
    watched.auditor.note(denied(2))
    await watched.run_until_poked(3_001)
    assert cut(2, 4000) in watched.poked[:2]
