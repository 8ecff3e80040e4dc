"""Killed in the midst of updates, without its state, with a full disk: what was cut stays cut, and
what was closed stays closed.
"""

import asyncio
import itertools
import resource
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwall import Box as SdkBox
from boxwall import BoxwallError, Client
from boxwall_agent.netlink import read_messages
from boxwall_agent.nft.batch import Type
from fakes.agent_process import Site, eventually, site
from lab.flood import Flood
from lab.namespaces import inside
from lab.network import Lab
from lab.packets import udp
from lab.servers import Echo, connect, reaches

CUT, ALLOWED, NEVER = "1.1.1.1", "3.3.3.3", "4.4.4.4"
OTHER = "5.0.0.0/8"
_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP = 12, 270, 1, 7
WITHOUT_NETFILTER = Path(__file__).parents[1] / "fakes" / "without_netfilter.py"


@pytest.fixture
def here(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Site]:
    """A running site with an echo server outside."""
    with site(lab, tmp_path) as made:
        yield made


@pytest.mark.timeout(600)
def test_killed_during_updates_a_connection_that_an_update_cut_stays_cut(
    here: Site, request: pytest.FixtureRequest
) -> None:
    """Killed when the kernel has just changed, and the agent may have remembered it or not. What
    a policy let in goes on sending, and its grant must not come to mean something else.
    """
    box = here.box("b1", "--allow-cidr", "1.0.0.0/8", "--allow-cidr", "3.0.0.0/8")
    living = connect(box, ALLOWED)
    flows = [
        box.wire.frame(udp(box.addresses[0], to, 9, b"going on", source_port=port))
        for port in range(20_000, 20_050)
        for to in (CUT, NEVER)
    ]
    seen = set()
    with Flood(box.name, flows, pause=0.001).going():
        for number in range(2 * request.config.getoption("--kills")):
            with Updates(here):
                wait_for_kernel_change(here, after=number % 7)
                here.agent.signal(signal.SIGKILL)
            seen |= arrived(here.lab)
            here.agent.start()
            here.must("policy", "set", "b1", "--allow-cidr", "3.0.0.0/8", "--allow-cidr", OTHER)
            time.sleep(0.1)  # what was on its way
            seen |= arrived(here.lab)
            time.sleep(0.1)
            assert not arrived(here.lab) & {CUT, NEVER}
            living.sendall(b"%08d" % number)
            assert living.recv(8) == b"%08d" % number
    assert seen & {CUT, ALLOWED, NEVER} == {CUT, ALLOWED}
    living.close()


def wait_for_kernel_change(here: Site, *, after: int) -> None:
    """Return at once at the end of the transaction in the node that follows so many."""
    with inside(here.lab.node.name):
        listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    with listening:
        listening.bind((0, 0))
        listening.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP)
        listening.settimeout(10)
        while after >= 0:
            after -= is_end_of_transaction(listening.recv(1 << 18))


def is_end_of_transaction(data: bytes) -> bool:
    """Whether the messages have a NFT_MSG_NEWGEN, the last of a transaction."""
    return any(one.kind & 0xFF == Type.NEWGEN for one in read_messages(data))


class Updates:
    """Changes a box's policy as fast as it can, and waits for nobody."""

    def __init__(self, here: Site) -> None:
        self._target = here.server.target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._change()))
        self._failed: BoxwallError | None = None

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._failed is not None:
            raise self._failed

    async def _change(self) -> None:
        try:
            async with Client(self._target, environ={}) as client:
                box = await SdkBox.get("b1", client=client)
                for first in itertools.cycle(("1.0.0.0/8", OTHER)):
                    if self._stop.is_set():
                        return
                    policy = {"mode": "custom", "allowed_cidrs": [first, "3.0.0.0/8"]}
                    await box.update_network_policy(policy, wait_timeout=None)
        except BoxwallError as exc:
            self._failed = exc


def test_without_its_state_an_agent_keeps_every_interface_closed(
    here: Site, tmp_path: Path
) -> None:
    denied = here.box("b1", "--mode", "deny-all")
    opened = here.box("b2", "--mode", "allow-all")
    living = connect(opened, CUT)
    here.agent.signal(signal.SIGKILL)
    shutil.rmtree(tmp_path / "agent")
    here.agent.start()
    assert not reaches(denied, CUT)
    assert not reaches(opened, CUT)
    boxes = here.must("attached")["boxes"]
    assert [box["box_id"] for box in boxes] == ["interface:box1", "interface:box2"]
    assert {box["state"] for box in boxes} == {"closed"}

    # The policy that the box had then allows what the connection goes to; now it does not.
    here.must("policy", "set", "b2", "--allow-cidr", "3.0.0.0/8", "--no-wait")
    here.must("attach", "b2", "--netns", opened.name)
    assert reaches(opened, ALLOWED)
    assert not answers(living)

    here.must("detach", "interface:box1")
    assert [box["box_id"] for box in here.must("attached")["boxes"]] == ["b2"]


def test_a_state_of_an_earlier_time_brings_no_cut_connection_back(
    here: Site, tmp_path: Path
) -> None:
    box = here.box("b1", "--allow-cidr", "9.9.9.9/32")
    state, copied = tmp_path / "agent", tmp_path / "copied"
    here.agent.signal(signal.SIGKILL)
    shutil.copytree(state, copied)
    here.agent.start()
    here.must("policy", "set", "b1", "--allow-cidr", "1.0.0.0/8")
    let_in = connect(box, CUT)
    here.agent.signal(signal.SIGKILL)
    shutil.rmtree(state)
    copied.rename(state)
    here.server.stop()
    here.agent.start()
    assert not answers(let_in)
    assert not reaches(box, CUT)


def test_a_range_that_is_blocked_from_a_restart_on_cuts_what_is_open_to_it(here: Site) -> None:
    box = here.box("b1", "--mode", "allow-all")
    to_blocked, to_other = connect(box, CUT), connect(box, ALLOWED)
    here.agent.signal(signal.SIGTERM)
    here.agent.start("--blocked-cidr", "1.0.0.0/8")
    assert not answers(to_blocked)
    assert answers(to_other)
    to_other.close()


def test_a_policy_that_found_the_disk_full_is_not_followed_by_the_one_before(here: Site) -> None:
    """The file system refuses to let the state grow; then there is room again, and no contact."""
    box = here.box("b1", "--mode", "allow-all")
    most = max(one.stat().st_size for one in here.agent.state_files)
    most = max(most, here.agent.log.stat().st_size + (1 << 16))
    resource.prlimit(here.agent.pid, resource.RLIMIT_FSIZE, (most, most))
    for number in range(200):
        policies = (["--deny-cidr", "9.0.0.0/8"], ["--mode", "allow-all"])
        here.boxwall("policy", "set", "b1", *policies[number % 2])
        if here.agent.events("state_not_saved"):
            break
    else:
        raise AssertionError("the state could always be written")
    assert not reaches(box, CUT)
    assert here.must("box", "get", "b1")["enforcement"]["state"] == "FAILED"
    here.agent.signal(signal.SIGKILL)
    here.server.stop()
    here.agent.start()
    assert not reaches(box, CUT)
    here.server.start()
    eventually(lambda: reaches(box, CUT), True.__eq__, patience=30)


def test_on_a_kernel_without_nf_tables_the_agent_does_not_start(here: Site) -> None:
    """And what is in force stays as it is."""
    box = here.box("b1", "--allow-cidr", "3.0.0.0/8")
    here.agent.signal(signal.SIGTERM)
    usual = here.agent.command()
    in_namespace, agent = usual[:4], usual[4:]  # ip netns exec NAME ...
    command = [*in_namespace, sys.executable, str(WITHOUT_NETFILTER), *agent]
    with pytest.raises(AssertionError, match="load the modules nfnetlink and nf_tables"):
        here.agent.start(command=command)
    assert reaches(box, ALLOWED)
    assert not reaches(box, NEVER)
    here.agent.start()
    assert reaches(box, ALLOWED)


def arrived(lab: Lab) -> set[str]:
    """Where packets of the box went that have arrived since this was asked last."""
    witness = lab.internet.witness
    witness.seen = []
    return {str(packet.destination) for packet in witness.look()}


def answers(connection: socket.socket) -> bool:
    """Whether an open connection to the echo server still carries anything."""
    try:
        connection.sendall(b"still there?")
        return bool(connection.recv(12))
    except OSError:
        connection.close()
        return False
