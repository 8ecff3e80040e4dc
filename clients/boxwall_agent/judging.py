"""May a connection that carries this name go to this address? Pure."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall.policy import (
    Address,
    Destination,
    Name,
    Policy,
    Protocol,
    Reason,
    Rule,
    Surroundings,
    decide,
)
from boxwall_agent.leases import Lease, Leases

_NOT_LISTED: Final = (Reason.NO_RULE, Reason.NEEDS_NAME)


@dataclass(frozen=True, slots=True)
class Passed:
    """It may. `lease`: by which; None where no name is needed."""

    lease: Lease | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """It may not."""

    reason: Reason
    rule: Rule | None = None


Judgement: TypeAlias = Passed | Refusal


def judge(
    policy: Policy | None,
    leases: Leases,
    surroundings: Surroundings,
    address: Address,
    name: Name | None,
    *,
    has_begun: bool = False,
) -> Judgement:
    """Judge a TCP connection by the name that its first bytes carry; None: they carry none that
    one could read, as SSH's do.

    An allowed name needs a lease on the address: what shares an address with it is something else.
    Not one that `has_begun` by that name: connections outlive their leases.
    """
    if policy is None:
        return Refusal(Reason.NO_POLICY)
    if name is None:
        leased = leases.at(address)
        if leased:
            return Passed(leased[0])
    where = Destination(domain=name, address=address, protocol=Protocol.TCP)
    verdict = decide(policy, where, surroundings=surroundings)
    if not verdict.allowed:
        named_wrong = name is not None and verdict.reason in _NOT_LISTED
        return Refusal(Reason.NAME_MISMATCH if named_wrong else verdict.reason, verdict.rule)
    if name is None or verdict.reason is not Reason.ALLOWED_DOMAIN:
        return Passed(None)
    lease = leases.find(name, address)
    if lease is None and not has_begun:
        return Refusal(Reason.NAME_MISMATCH, verdict.rule)
    return Passed(lease)
