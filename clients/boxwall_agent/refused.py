"""Refused connections on their way to those who asked: gathered, counted, bounded. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from boxwall.policy import (
    Destination,
    Policy,
    Protocol,
    Reason,
    Rule,
    Surroundings,
    decide,
)
from boxwall.wire.entries import Refused
from boxwall_agent.packets import SCTP, TCP, UDP, Packet

MOST_GATHERED: Final = 1_000
"""Different refusals between two reports; of more only the number is told."""

_PROTOCOL: Final = {
    TCP: Protocol.TCP,
    UDP: Protocol.UDP,
    SCTP: Protocol.SCTP,
    1: Protocol.ICMP,
    58: Protocol.ICMP,
}
_OF_PREFIX: Final = {
    "spoofed": Reason.SPOOFED_SOURCE,
    "limited": Reason.RATE_LIMITED,
    "quic": Reason.QUIC_BY_NAME,
}


@dataclass(frozen=True, slots=True)
class Why:
    """The reason for a refusal, and the entry that gave it."""

    reason: Reason
    rule: Rule | None = None


def destination_of(packet: Packet) -> Destination:
    """What the box wanted to reach."""
    return Destination(
        address=packet.destination,
        port=packet.destination_port or None,
        protocol=_PROTOCOL.get(packet.protocol, Protocol.OTHER),
    )


def why(
    prefix: str, policy: Policy | None, packet: Packet, surroundings: Surroundings
) -> Why | None:
    """Say why a packet was refused; `prefix` is what its rule logs.

    None: the policy has changed since, and allows it now.
    """
    if prefix in _OF_PREFIX:
        return Why(_OF_PREFIX[prefix])
    if policy is None:
        return Why(Reason.NO_POLICY)
    verdict = decide(policy, destination_of(packet), surroundings=surroundings)
    return None if verdict.allowed else Why(verdict.reason, verdict.rule)


class Gathered:
    """Refusals since the last report: one for each destination and reason, with a count."""

    def __init__(self) -> None:
        self._refused: dict[Refused, tuple[float, float, int]] = {}
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._refused or self._dropped)

    def add(self, refused: Refused, now: float) -> None:
        """Take in one refusal; its times and its count are not looked at. `now`: Unix time."""
        first, _, count = self._refused.get(refused, (now, now, 0))
        if count == 0 and len(self._refused) >= MOST_GATHERED:
            # Oldest first: a dict keeps the order in which its keys came.
            self._dropped += self._refused.pop(next(iter(self._refused)))[2]
        self._refused[refused] = (first, now, count + 1)

    def contents(self) -> tuple[list[Refused], int]:
        """Return what was gathered, and how many were dropped."""
        return [
            replace(key, first_time=first, last_time=last, count=count)
            for key, (first, last, count) in self._refused.items()
        ], self._dropped
