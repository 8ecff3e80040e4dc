"""The call `Explain` over a unix socket, asked by the SDK."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from boxwall import (
    AgentClient,
    AttachedState,
    Carrier,
    Destination,
    EntryKind,
    InvalidRequest,
    NotAttached,
    Outcome,
)
from boxwall.policy import Address, AllowAll, Custom, DomainPattern, Name
from boxwall_agent.agent import Agent
from boxwall_agent.audit import Connection
from boxwall_agent.errors import KernelUnsure
from boxwall_agent.hosted import Hosted
from boxwall_agent.local_api import LocalApi, make_server
from boxwall_agent.state import State
from fakes.asked_box import AskedBox

API, FIVE = Name.parse("api.example.com"), Address.parse("5.5.5.5")
GRACE = 60.0


class NoCounts:
    """Nothing was refused."""

    def refused(self, boxes: Sequence[Hosted]) -> dict[str, int]:
        return {one.box_id: 0 for one in boxes}


@pytest.fixture
def box() -> AskedBox:
    """A box that may reach one name."""
    return AskedBox(Custom(allowed_domains=(DomainPattern.parse(str(API)),)))


@pytest.fixture
async def client(box: AskedBox, tmp_path: Path) -> AsyncIterator[AgentClient]:
    """A client of an agent that hosts the box."""
    state = State(tmp_path / "agent.db")
    agent = Agent(box.enforcer, state, lambda seconds: None)
    api = LocalApi(agent, NoCounts(), box.explainer, "n1", lambda: True, grace=GRACE)
    server = make_server(api)
    server.add_insecure_port(f"unix:{tmp_path / 's'}")
    await server.start()
    async with AgentClient(tmp_path / "s") as client:
        yield client
    await server.stop(None)
    state.close()


async def test_a_leased_name_comes_with_its_lease_and_what_the_kernel_holds(
    box: AskedBox, client: AgentClient
) -> None:
    lease = box.lease_for(API, 90.0, FIVE)
    box.connections = [Connection(Address.parse("10.77.1.2"), FIVE, 6, 4000, 443, lease.grant, 3)]

    answer = await client.explain("b1", ["api.example.com:443"])

    assert (answer.box.state, answer.box.policy_revision) == (AttachedState.ENFORCED, 1)
    (found,) = answer.explanations
    assert found.outcome is Outcome.PASSES_IF_NAMED
    assert (found.names, found.carriers) == (("api.example.com",), (Carrier.TLS_SNI,))
    assert found.verdict.allowed
    assert found.agrees
    (leased,), (entry,) = found.leases, found.kernel
    assert (leased.address, leased.grant, leased.live) == ("5.5.5.5", lease.grant, True)
    assert leased.end_time - leased.expire_time == timedelta(seconds=GRACE)
    left = leased.end_time - datetime.now(UTC)
    assert timedelta(seconds=30) < left <= timedelta(seconds=91)
    assert (entry.kind, entry.set, entry.agrees) == (EntryKind.LEASED, "lease4", True)
    assert leased.connections == entry.connections == 1


async def test_answers_come_in_the_order_of_what_was_asked(client: AgentClient) -> None:
    asked: list[str | Destination] = ["1.1.1.1:443", "api.example.com:443", "9.9.9.9:53"]

    answer = await client.explain("b1", asked)

    outcomes = [one.outcome for one in answer.explanations]
    assert outcomes == [Outcome.REFUSED, Outcome.RESOLVES, Outcome.ANSWERED_HERE]
    assert [str(one.destination) for one in answer.explanations] == asked


async def test_connections_that_cannot_be_counted_are_not_known(
    box: AskedBox, client: AgentClient
) -> None:
    box.enforce(AllowAll())
    box.connections_fail = KernelUnsure("no answer")

    answer = await client.explain("b1", ["1.1.1.1:443"])

    (entry,) = answer.explanations[0].kernel
    assert (entry.kind, entry.agrees, entry.connections) == (EntryKind.ALL, True, None)


async def test_a_box_that_is_not_here_is_not_attached(client: AgentClient) -> None:
    with pytest.raises(NotAttached, match="box b9 is not attached to this node") as caught:
        await client.explain("b9", ["1.1.1.1:443"])
    assert caught.value.resource == ("box", "b9")


@pytest.mark.parametrize("number", [0, 33])
async def test_it_wants_1_to_32_destinations(client: AgentClient, number: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await client.explain("b1", ["1.1.1.1:443"] * number)
    (violation,) = caught.value.violations
    assert str(violation) == f"destinations: has {number} entries; give 1 to 32"
