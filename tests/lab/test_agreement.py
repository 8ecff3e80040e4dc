"""The kernel agrees with `decide`: packets are sent, and who stands outside says which came."""

import itertools
import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boxwall.policy import (
    ALWAYS_BLOCKED,
    Address,
    Custom,
    Destination,
    Network,
    NetworkTable,
    Policy,
    Protocol,
    Surroundings,
    decide,
)
from fakes.policy_strategies import POLICIES
from lab.kernel import Kernel
from lab.network import NODE, Box, Lab
from lab.packets import udp

PORT = 9
_numbers = itertools.count(1)


def test_the_kernel_agrees_with_decide(lab: Lab, request: pytest.FixtureRequest) -> None:
    """At least 500 destinations, at the boundaries of every range and every entry."""
    operators = Network.parse("17.0.0.0/8")
    kernel = Kernel(lab, blocked=(operators,))
    box, other = lab.box(), lab.box()
    for one in (box, other):
        kernel.attach(one)
    kernel.enforce(other, Custom(allowed_cidrs=(Network.parse("8.8.8.8"),)))
    own = [*NODE, *box.addresses, *other.addresses]
    blocked = NetworkTable([(operators, "operator"), *((Network.parse(one), "own") for one in own)])
    surroundings = Surroundings(blocked=blocked)
    special = [*boundaries(network for network, _ in ALWAYS_BLOCKED), *map(Address.parse, own)]
    judged: dict[bytes, bool] = {}

    @settings(
        max_examples=request.config.getoption("--kernel-examples"),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        deadline=None,
    )
    @given(policy=POLICIES, choice=st.integers(0, 2**32))
    def agrees(policy: Policy, choice: int) -> None:
        kernel.enforce(box, policy)
        entries = (
            (*policy.allowed_cidrs, *policy.denied_cidrs) if isinstance(policy, Custom) else ()
        )
        dice = random.Random(choice)
        anywhere = [Address(4, dice.getrandbits(32)) for _ in range(4)]
        asked = [*boundaries(entries), *anywhere, *dice.sample(special, 12)]
        wanted = {}
        for address in asked:
            payload = b"case%010d" % next(_numbers)
            destination = Destination(address=address, port=PORT, protocol=Protocol.UDP)
            verdict = decide(policy, destination, surroundings=surroundings)
            wanted[payload] = (str(address), verdict.allowed)
            target = str(address)
            box.wire.send(udp(box.source_for(target), target, PORT, payload))
        came = after_all(lab, other)
        wrong = {
            address: f"decide allows: {allowed}"
            for payload, (address, allowed) in wanted.items()
            if (payload in came) != allowed
        }
        assert not wrong, f"{policy}: {wrong}"
        judged.update((payload, allowed) for payload, (_, allowed) in wanted.items())

    with one_processor():
        agrees()
    # Stragglers too: nothing that was denied came later.
    lab.internet.witness.look()
    came = {packet.payload[8:] for packet in lab.internet.witness.seen}
    assert len(judged) >= 500
    assert came & judged.keys() == {payload for payload, allowed in judged.items() if allowed}
    assert sum(judged.values()) >= 50, "both verdicts must be common"
    kernel.close()


def boundaries(networks: "Iterator[Network] | tuple[Network, ...]") -> list[Address]:
    """The addresses on both sides of each end of each network."""
    found = []
    for network in networks:
        width = 32 if network.version == 4 else 128
        values = (network.first - 1, network.first, network.last, network.last + 1)
        found += [Address(network.version, value) for value in values if 0 <= value < 1 << width]
    return found


def after_all(lab: Lab, box: Box) -> set[bytes]:
    """The payloads that have come, once one that was sent after all others has.

    On one processor, packets of all interfaces go through one queue.
    """
    last = b"last%010d" % next(_numbers)
    box.wire.send(udp(box.addresses[0], "8.8.8.8", PORT, last))
    return {packet.payload[8:] for packet in lab.internet.witness.wait_for(last)}


class one_processor:  # noqa: N801  # used as a block
    """Stay on one processor for as long as the block lasts."""

    def __enter__(self) -> None:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(self._before)})

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self._before)
