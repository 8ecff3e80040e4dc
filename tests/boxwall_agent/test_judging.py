"""A connection may go where its name is leased, by the policy that the box has now."""

import pytest

from boxwall.policy import (
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Name,
    Network,
    NetworkTable,
    Policy,
    Reason,
    Rule,
    RuleList,
    Surroundings,
    Unlisted,
)
from boxwall.policy.names import DomainPattern
from boxwall_agent.judging import Judgement, Passed, Refusal, judge
from boxwall_agent.leases import Lease, Leases
from boxwall_agent.marks import Grant

API, CDN, EVIL = map(Name.parse, ("api.example.com", "cdn.example.com", "evil.test"))
HERE, THERE = Address.parse("8.8.4.4"), Address.parse("9.9.9.9")
LEASE = Lease(name=API, address=HERE, grant=Grant(7), end=100.0)
LEASES = Leases([LEASE])
DOMAINS = tuple(map(DomainPattern.parse, ("api.example.com", "*.example.com")))
NAMED = Custom(allowed_domains=DOMAINS)
UNLISTED = Rule(RuleList.UNLISTED, "deny")
MISMATCH = Refusal(Reason.NAME_MISMATCH, UNLISTED)
NEEDS_NAME = Refusal(Reason.NEEDS_NAME, UNLISTED)
BY_PATTERN = Refusal(Reason.NAME_MISMATCH, Rule(RuleList.ALLOWED_DOMAINS, "*.example.com"))
BY_NAME = Refusal(Reason.NAME_MISMATCH, Rule(RuleList.ALLOWED_DOMAINS, "api.example.com"))


def networks(text: str) -> tuple[Network, ...]:
    return (Network.parse(text),)


@pytest.mark.parametrize(
    ("policy", "address", "name", "judgement"),
    [
        pytest.param(NAMED, HERE, API, Passed(LEASE), id="leased for the name"),
        pytest.param(NAMED, HERE, CDN, BY_PATTERN, id="allowed, but leased for another name"),
        pytest.param(NAMED, THERE, API, BY_NAME, id="allowed, but not leased there"),
        pytest.param(NAMED, HERE, EVIL, MISMATCH, id="not allowed"),
        pytest.param(NAMED, HERE, None, Passed(LEASE), id="no name, and the address is leased"),
        pytest.param(NAMED, THERE, None, NEEDS_NAME, id="no name, and it is not"),
        pytest.param(None, HERE, API, Refusal(Reason.NO_POLICY), id="no policy"),
        pytest.param(None, HERE, None, Refusal(Reason.NO_POLICY), id="no policy, no name"),
        pytest.param(
            DenyAll(),
            *(HERE, API, Refusal(Reason.DENY_ALL, Rule(RuleList.MODE, "deny-all"))),
            id="deny-all",
        ),
        pytest.param(AllowAll(), HERE, EVIL, Passed(None), id="allow-all needs no name"),
        pytest.param(
            Custom(allowed_domains=DOMAINS, allowed_cidrs=networks("8.8.4.0/24")),
            *(HERE, EVIL, Passed(None)),
            id="an allowed network needs no name",
        ),
        pytest.param(
            Custom(allowed_domains=DOMAINS, denied_cidrs=networks("8.8.4.0/24")),
            *(HERE, API, Refusal(Reason.DENIED_CIDR, Rule(RuleList.DENIED_CIDRS, "8.8.4.0/24"))),
            id="deny beats a name",
        ),
        pytest.param(
            Custom(denied_cidrs=networks("1.0.0.0/8"), unlisted=Unlisted.ALLOW),
            *(HERE, EVIL, Passed(None)),
            id="what is not denied needs no name",
        ),
    ],
)
def test_a_connection_is_judged_by_name_and_address(
    policy: Policy | None, address: Address, name: Name | None, judgement: Judgement
) -> None:
    assert judge(policy, LEASES, Surroundings(), address, name) == judgement


def test_what_is_around_the_box_is_blocked_whatever_is_leased() -> None:
    around = Surroundings(blocked=NetworkTable([(Network.parse("8.8.4.4/32"), "the node's own")]))
    found = judge(NAMED, LEASES, around, HERE, API)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.RESERVED_ADDRESS


def test_a_lease_that_has_ended_begins_nothing() -> None:
    leases = Leases([LEASE])
    leases.adopt(leases.plan_end(100.0), 100.0)
    assert judge(NAMED, leases, Surroundings(), HERE, API) == BY_NAME
    assert judge(NAMED, leases, Surroundings(), HERE, None) == NEEDS_NAME


@pytest.mark.parametrize(
    ("policy", "name", "judgement"),
    [
        pytest.param(NAMED, API, Passed(None), id="it needs no lease any more"),
        pytest.param(NAMED, EVIL, MISMATCH, id="the policy allows the name no longer"),
        pytest.param(
            Custom(allowed_domains=DOMAINS, denied_cidrs=networks("9.0.0.0/8")),
            *(API, Refusal(Reason.DENIED_CIDR, Rule(RuleList.DENIED_CIDRS, "9.0.0.0/8"))),
            id="the address is denied",
        ),
        pytest.param(None, API, Refusal(Reason.NO_POLICY), id="there is no policy"),
    ],
)
def test_a_connection_that_has_begun_is_judged_by_the_policy_and_outlives_its_lease(
    policy: Policy | None, name: Name, judgement: Judgement
) -> None:
    assert judge(policy, Leases(), Surroundings(), THERE, name, has_begun=True) == judgement
