"""Whatever happens to the agent and the control plane, nothing passes that no policy allows."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwall import Box as SdkBox
from boxwall import Client
from fakes.agent_process import Site, eventually, site
from lab.flood import Flood
from lab.network import NODE, Box, Lab
from lab.packets import tcp, udp
from lab.servers import Echo, connect, reaches

A_ONLY, B_ONLY, BOTH, NEITHER = "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"
SIX_A, SIX_B, SIX_BOTH, SIX_NEITHER = "2600:1::1", "2600:2::1", "2600:3::1", "2600:4::1"
POLICY_A = ("1.0.0.0/8", "3.0.0.0/8", "2600:1::/32", "2600:3::/32")
POLICY_B = ("2.0.0.0/8", "3.0.0.0/8", "2600:2::/32", "2600:3::/32")
NEVER = (NEITHER, SIX_NEITHER, *NODE, "10.1.2.3", "fd00::1", "169.254.169.254")


@pytest.fixture
def here(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Site]:
    """A running site with an echo server outside."""
    with site(lab, tmp_path) as made:
        yield made


def test_a_syn_flood_during_a_thousand_updates_leaks_nothing(here: Site) -> None:
    """Between two policies, a packet passes by the one or by the other."""
    box = here.box("b1", *allow(POLICY_A))
    with Flood(box.name, frames(box)).going() as flood:
        asyncio.run(toggle(here, 1_000))
    assert flood.sent > 20_000
    seen = destinations(here.lab)
    assert not seen & set(NEVER)
    # The flood was real, and both policies were in force while it went on.
    assert {A_ONLY, B_ONLY, BOTH, SIX_A, SIX_B, SIX_BOTH} <= seen


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("victim", ["agent", "server"])
def test_ending_the_agent_or_the_control_plane_leaks_nothing(
    here: Site, victim: str, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    """Under traffic and updates; an open connection that is allowed lives through it all."""
    box = here.box("b1", *allow(POLICY_A))
    living = connect(box, BOTH)
    seen = set()
    with Flood(box.name, frames(box), pause=0.001).going() as flood:
        for kill in range(request.config.getoption("--kills")):
            if victim == "agent":
                here.agent.signal(number)
                here.agent.start()
            else:
                here.server.kill() if number is signal.SIGKILL else here.server.stop()
                here.server.start()
            here.must("policy", "set", "b1", *allow((POLICY_B, POLICY_A)[kill % 2]))
            living.sendall(b"%08d" % kill)
            assert living.recv(8) == b"%08d" % kill
            seen |= destinations(here.lab)
    assert flood.sent > 5_000
    seen |= destinations(here.lab)
    assert not seen & set(NEVER)
    assert {A_ONLY, B_ONLY, BOTH, SIX_A, SIX_B, SIX_BOTH} <= seen
    living.close()


def test_without_an_agent_the_last_policy_stays(here: Site) -> None:
    box = here.box("b1", *allow(POLICY_A))
    here.agent.signal(signal.SIGKILL)
    assert reaches(box, A_ONLY)
    assert not reaches(box, B_ONLY)


def test_a_policy_that_changed_while_no_agent_ran_is_caught_up_with(here: Site) -> None:
    box = here.box("b1", *allow(POLICY_A))
    open_before = connect(box, A_ONLY)
    here.agent.signal(signal.SIGKILL)
    here.must("policy", "set", "b1", "--mode", "deny-all", "--no-wait")
    here.agent.start()
    eventually(lambda: here.must("box", "get", "b1")["enforcement"]["state"], "ENFORCED".__eq__)
    assert not reaches(box, A_ONLY)
    with pytest.raises(OSError, match="reset"):
        open_before.recv(1)
    open_before.close()


def allow(cidrs: tuple[str, ...]) -> list[str]:
    """The flags of a policy."""
    return [word for cidr in cidrs for word in ("--allow-cidr", cidr)]


def frames(box: Box) -> list[bytes]:
    """SYNs and datagrams to everywhere, from many ports, so that most begin a connection."""
    targets = (A_ONLY, B_ONLY, BOTH, SIX_A, SIX_B, SIX_BOTH, *NEVER)
    return [
        box.wire.frame(make(box.source_for(target), target, 81, source_port=port))
        for port in range(20_000, 20_200)
        for target in targets
        for make in (tcp, datagram)
    ]


def datagram(source: str, target: str, port: int, *, source_port: int) -> bytes:
    """A UDP datagram that says what it is."""
    return udp(source, target, port, b"flood", source_port=source_port)


async def toggle(here: Site, times: int) -> None:
    """Update to one policy and the other; each call returns when it is in force."""
    async with Client(here.server.target, environ={}) as client:
        box = await SdkBox.get("b1", client=client)
        for number in range(times):
            cidrs = (POLICY_B, POLICY_A)[number % 2]
            await box.update_network_policy({"mode": "custom", "allowed_cidrs": list(cidrs)})


def destinations(lab: Lab) -> set[str]:
    """Where the packets went that the witness has seen since it was last asked."""
    witness = lab.internet.witness
    witness.look()
    seen, witness.seen = witness.seen, []
    return {str(packet.destination) for packet in seen}
