"""Refusals: why, gathered, counted, bounded."""

import pytest

from boxwall.policy import (
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    Network,
    NetworkTable,
    Policy,
    Protocol,
    Reason,
    Surroundings,
)
from boxwall.wire.entries import Refused
from boxwall_agent.packets import TCP, Packet
from boxwall_agent.refused import MOST_GATHERED, Gathered, destination_of, why

NODE = Network.parse("45.0.0.1")
AROUND = Surroundings(blocked=NetworkTable([(NODE, "the node's own")]))


def packet_to(address: str) -> Packet:
    return Packet(
        source=Address.parse("10.77.1.2"),
        destination=Address.parse(address),
        protocol=TCP,
        source_port=4000,
        destination_port=443,
    )


@pytest.mark.parametrize(
    ("prefix", "policy", "address", "reason"),
    [
        ("spoofed", AllowAll(), "1.1.1.1", Reason.SPOOFED_SOURCE),
        ("limited", AllowAll(), "1.1.1.1", Reason.RATE_LIMITED),
        ("policy", None, "1.1.1.1", Reason.NO_POLICY),
        ("policy", DenyAll(), "1.1.1.1", Reason.DENY_ALL),
        ("policy", AllowAll(), "45.0.0.1", Reason.RESERVED_ADDRESS),
        ("policy", AllowAll(), "10.0.0.1", Reason.RESERVED_ADDRESS),
        ("policy", Custom(), "1.1.1.1", Reason.NO_RULE),
    ],
)
def test_the_reason_is_that_of_decide(
    prefix: str, policy: Policy | None, address: str, reason: Reason
) -> None:
    found = why(prefix, policy, packet_to(address), AROUND)
    assert found is not None
    assert found.reason is reason


def test_what_a_newer_policy_allows_is_not_reported() -> None:
    assert why("policy", AllowAll(), packet_to("1.1.1.1"), AROUND) is None


def test_the_destination_is_what_the_packet_says() -> None:
    assert destination_of(packet_to("1.1.1.1")) == Destination(
        address=Address.parse("1.1.1.1"), port=443, protocol=Protocol.TCP
    )


def refused(number: int) -> Refused:
    return Refused(
        box_id="b1",
        destination=Destination(address=Address(4, number)),
        reason=Reason.NO_RULE,
        rule=None,
        revision=1,
    )


def test_the_same_refusal_is_counted_not_repeated() -> None:
    gathered = Gathered()
    for now in (1.0, 2.0, 5.0):
        gathered.add(refused(1), now)
    ((one,), dropped) = gathered.contents()
    assert (one.count, one.first_time, one.last_time, dropped) == (3, 1.0, 5.0, 0)


def test_the_oldest_make_room_and_are_counted_as_dropped() -> None:
    gathered = Gathered()
    gathered.add(refused(0), 0.0)
    gathered.add(refused(0), 0.0)
    for number in range(1, MOST_GATHERED + 1):
        gathered.add(refused(number), 1.0)
    found, dropped = gathered.contents()
    assert len(found) == MOST_GATHERED
    assert dropped == 2
    assert refused(0).destination not in {one.destination for one in found}


def test_nothing_gathered_is_nothing_to_say() -> None:
    assert not Gathered()
