"""A connection that a change cuts ends at both ends, and carries nothing out any more."""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.agent_process import Site, eventually, site
from lab.namespaces import inside
from lab.network import Box, Lab
from lab.packets import TCP, Wire, tcp
from lab.servers import connect
from lab.witness import Seen

PORT = 99
ACK, RST = 0x10, 0x04
WORDS = 200


@pytest.fixture
def here(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    """A running site."""
    with site(lab, tmp_path) as made:
        yield made


@pytest.fixture
def server(here: Site) -> Iterator[socket.socket]:
    """A server outside, on every address."""
    with inside(here.lab.internet.name):
        server = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    server.settimeout(5)
    yield server
    server.close()


@pytest.mark.parametrize("masquerade", [False, True], ids=["routed", "masqueraded"])
@pytest.mark.parametrize("address", ["1.1.1.1", "2600::1"])
def test_both_ends_of_a_connection_that_is_idle_are_reset(
    here: Site, server: socket.socket, address: str, masquerade: bool
) -> None:
    box = attached(here, masquerade=masquerade)
    near, far = open_connection(box, server, address)
    here.must("policy", "set", "b1", "--mode", "deny-all")
    for end in (near, far):
        end.settimeout(5)
        with pytest.raises(ConnectionResetError):
            end.recv(1)
        end.close()


@pytest.mark.parametrize("address", ["1.1.1.1", "2600::1"])
def test_nothing_that_a_box_sends_after_a_cut_reaches_its_partner(
    here: Site, server: socket.socket, address: str
) -> None:
    """The numbers of its segments and how many they are would be words to whoever listens."""
    box = attached(here)
    near, far = open_connection(box, server, address)
    port = near.getsockname()[1]
    sequence, acknowledged = last_numbers(here.lab, port)
    here.must("policy", "set", "b1", "--mode", "deny-all")
    for number in range(WORDS):
        chosen = (sequence + number * 7) & 0xFFFFFFFF
        box.wire.send(
            tcp(
                box.source_for(address),
                address,
                PORT,
                flags=ACK if number % 2 else ACK | RST,
                sequence=chosen,
                acknowledged=acknowledged,
                data=b"word" if number % 4 == 1 else b"",
                source_port=port,
            )
        )
    eventually(lambda: of_connection(here.lab, port), lambda seen: any(map(is_reset, seen)))
    time.sleep(0.2)
    seen = of_connection(here.lab, port)
    # The node's own question, and the reset that the far end's answer met: both of before the cut.
    assert len([one for one in seen if not is_reset(one)]) == 1
    assert {numbers(one)[0] for one in seen if is_reset(one)} == {sequence}
    assert len(seen) <= 3
    near.close()
    far.close()


def test_a_partner_that_keeps_asking_hears_only_what_it_has_said_itself(
    here: Site, server: socket.socket
) -> None:
    box = attached(here)
    near, far = open_connection(box, server, "1.1.1.1")
    port = near.getsockname()[1]
    sequence, acknowledged = last_numbers(here.lab, port)
    here.must("policy", "set", "b1", "--mode", "deny-all")
    eventually(lambda: of_connection(here.lab, port), lambda seen: any(map(is_reset, seen)))
    here.lab.internet.witness.seen.clear()
    partner = Wire(here.lab.internet, "node", here.lab.node.mac_of("uplink"))
    for number in range(WORDS):
        asked = tcp(
            "1.1.1.1",
            box.addresses[0],
            port,
            flags=ACK,
            sequence=acknowledged,
            acknowledged=sequence,
            source_port=PORT,
        )
        said = tcp(
            box.addresses[0],
            "1.1.1.1",
            PORT,
            flags=ACK,
            sequence=(sequence + number * 7) & 0xFFFFFFFF,
            acknowledged=acknowledged,
            source_port=port,
        )
        box.wire.send(said)
        partner.send(asked)
    time.sleep(0.2)
    partner.close()
    heard = of_connection(here.lab, port)
    assert heard
    assert {(is_reset(one), numbers(one)[0]) for one in heard} == {(True, sequence)}
    near.close()
    far.close()


def attached(here: Site, *, masquerade: bool = False) -> Box:
    """A box that may do anything."""
    box = here.lab.box()
    here.must("box", "create", "--id", "b1", "--mode", "allow-all")
    here.must("attach", "b1", "--netns", box.name, *(("--masquerade",) if masquerade else ()))
    return box


def open_connection(
    box: Box, server: socket.socket, address: str
) -> tuple[socket.socket, socket.socket]:
    """Its two ends."""
    near = connect(box, address, PORT)
    far, _ = server.accept()
    near.sendall(b"hello")
    far.settimeout(5)
    assert far.recv(5) == b"hello"
    return near, far


def last_numbers(lab: Lab, port: int) -> tuple[int, int]:
    """Where the box's connection is: its next number, and what it expects."""
    hello = next(one for one in of_connection(lab, port) if one.payload.endswith(b"hello"))
    sequence, acknowledged = numbers(hello)
    lab.internet.witness.seen.clear()
    return sequence + 5, acknowledged


def of_connection(lab: Lab, port: int) -> list[Seen]:
    """What has come of the box's connection since the list was cleared."""
    witness = lab.internet.witness
    witness.look()
    return [one for one in witness.seen if one.protocol == TCP and one.ports == (port, PORT)]


def numbers(seen: Seen) -> tuple[int, int]:
    """Sequence and acknowledgement numbers."""
    sequence, acknowledged = struct.unpack_from(">II", seen.payload, 4)
    return sequence, acknowledged


def is_reset(seen: Seen) -> bool:
    """Whether it ends a connection."""
    return bool(seen.payload[13] & RST)
