"""From facts to an explanation; and the facts, gathered from an enforcer and its kernel."""

import errno
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import (
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    DomainPattern,
    Name,
    Network,
    Policy,
    Reason,
    Unlisted,
    decide,
)
from boxwall.wire.entries import Removed
from boxwall_agent.audit import Connection
from boxwall_agent.errors import KernelError, KernelRejected, KernelUnsure
from boxwall_agent.explaining import Carrier, Outcome
from boxwall_agent.held import Kind
from boxwall_agent.nft.objects import Element
from fakes.asked_box import AskedBox
from fakes.policy_strategies import networks

API, CDN = Name.parse("api.example.com"), Name.parse("img.cdn.example.com")
FIVE, SIX = Address.parse("5.5.5.5"), Address.parse("2600:5::5")
NAMES = Custom(
    allowed_domains=(DomainPattern.parse(str(API)), DomainPattern.parse("*.cdn.example.com"))
)
LISTS = Custom(
    allowed_domains=NAMES.allowed_domains,
    allowed_cidrs=(Network.parse("104.16.0.0/12"),),
    denied_cidrs=(Network.parse("104.16.120.0/24"),),
)


@pytest.mark.parametrize(
    ("policy", "asked", "outcome", "reason"),
    [
        (AllowAll(), "8.8.8.8:443", Outcome.PASSES, Reason.ALLOW_ALL),
        (AllowAll(), "evil.test:443", Outcome.PASSES, Reason.ALLOW_ALL),
        (AllowAll(), "169.254.169.254:80", Outcome.REFUSED, Reason.RESERVED_ADDRESS),
        (DenyAll(), "8.8.8.8:443", Outcome.REFUSED, Reason.DENY_ALL),
        (DenyAll(), "api.example.com:443", Outcome.REFUSED, Reason.DENY_ALL),
        (LISTS, "104.16.1.1:443", Outcome.PASSES, Reason.ALLOWED_CIDR),
        (LISTS, "104.16.120.1:443", Outcome.REFUSED, Reason.DENIED_CIDR),
        (LISTS, "5.5.5.5:443", Outcome.REFUSED, Reason.NEEDS_NAME),
        (LISTS, "api.example.com:443", Outcome.RESOLVES, Reason.ALLOWED_DOMAIN),
        (LISTS, "api.example.com:443/udp", Outcome.REFUSED, Reason.QUIC_BY_NAME),
        (LISTS, "evil.test:443", Outcome.REFUSED, Reason.NO_RULE),
        (LISTS, "8.8.8.8:53", Outcome.ANSWERED_HERE, Reason.NEEDS_NAME),
        (LISTS, "8.8.8.8:53/sctp", Outcome.REFUSED, Reason.NEEDS_NAME),
        (
            Custom(denied_cidrs=(Network.parse("5.0.0.0/8"),), unlisted=Unlisted.ALLOW),
            "8.8.8.8:443",
            Outcome.PASSES,
            Reason.NOT_DENIED,
        ),
    ],
    ids=str,
)
def test_before_anything_is_leased(
    policy: Policy, asked: str, outcome: Outcome, reason: Reason
) -> None:
    found = AskedBox(policy).ask(asked)

    assert (found.outcome, found.verdict.reason) == (outcome, reason)
    assert found.agrees
    assert found.verdict.policy_revision == 1


@pytest.mark.parametrize(
    ("asked", "outcome", "reason", "carriers"),
    [
        ("api.example.com:443", Outcome.PASSES_IF_NAMED, Reason.ALLOWED_DOMAIN, "TLS_SNI"),
        ("api.example.com", Outcome.PASSES_IF_NAMED, Reason.ALLOWED_DOMAIN, "TLS_SNI"),
        ("api.example.com:80", Outcome.PASSES_IF_NAMED, Reason.ALLOWED_DOMAIN, "HTTP_HOST TLS_SNI"),
        ("api.example.com:22", Outcome.PASSES_IF_NAMED, Reason.ALLOWED_DOMAIN, "TLS_SNI ADDRESS"),
        ("api.example.com:443/udp", Outcome.REFUSED, Reason.QUIC_BY_NAME, ""),
        ("api.example.com:123/udp", Outcome.PASSES, Reason.ALLOWED_DOMAIN, ""),
        ("5.5.5.5:443", Outcome.PASSES_IF_NAMED, Reason.ALLOWED_DOMAIN, "TLS_SNI"),
        ("5.5.5.5:443/udp", Outcome.REFUSED, Reason.QUIC_BY_NAME, ""),
        ("5.5.5.6:443", Outcome.REFUSED, Reason.NEEDS_NAME, ""),
        ("img.cdn.example.com:443", Outcome.RESOLVES, Reason.ALLOWED_DOMAIN, ""),
    ],
)
def test_once_a_name_is_leased(asked: str, outcome: Outcome, reason: Reason, carriers: str) -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE, SIX)

    found = bench.ask(asked)

    assert (found.outcome, found.verdict.reason) == (outcome, reason)
    assert [one.name for one in found.carriers] == carriers.split()
    assert found.verdict.allowed == (outcome is not Outcome.REFUSED)
    assert found.agrees


def test_a_name_has_its_leases_and_each_of_their_addresses_is_looked_up() -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE, SIX)
    bench.lease(CDN, FIVE)

    found = bench.ask("api.example.com:443")

    assert found.names == (API,)
    assert [(lease.name, lease.address) for lease in found.leases] == [(API, FIVE), (API, SIX)]
    assert [(one.held.address, one.held.kind) for one in found.kernel] == [
        (FIVE, Kind.LEASED),
        (SIX, Kind.LEASED),
    ]


def test_an_address_that_names_share_passes_by_any_of_them() -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE)
    bench.lease(CDN, FIVE)

    found = bench.ask("5.5.5.5:443")

    assert found.names == (API, CDN)
    assert f"{API} or {CDN}" in found.summary


def test_an_address_that_the_name_has_not_led_to_is_a_mismatch() -> None:
    bench = AskedBox(NAMES)
    bench.lease(CDN, FIVE)

    asked = Destination(domain=API, address=FIVE, port=443)
    found = bench.explainer.explain(bench.hosted, asked)

    assert (found.outcome, found.verdict.reason) == (Outcome.REFUSED, Reason.NAME_MISMATCH)
    assert found.leases == ()


def test_a_lease_that_has_ended_lets_nothing_begin() -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE)

    bench.enforcer.leasing.end(bench.hosted, 100.0)

    assert bench.ask("api.example.com:443").outcome is Outcome.RESOLVES
    found = bench.ask("5.5.5.5:443")
    assert (found.outcome, found.kernel[0].held.kind) == (Outcome.REFUSED, Kind.NOTHING)


def test_what_a_change_withdraws_is_refused_and_gone_from_the_kernel() -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE)

    bench.enforce(Custom(allowed_domains=NAMES.allowed_domains[1:]))

    for asked in ("api.example.com:443", "5.5.5.5:443"):
        found = bench.ask(asked)
        assert (found.outcome, found.leases, found.agrees) == (Outcome.REFUSED, (), True)
        assert found.verdict.policy_revision == 2


def test_a_box_without_a_policy_reaches_nothing_and_it_is_said_why() -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE)
    bench.says(Removed(box_id="b1", revision=2))

    for asked in ("api.example.com:443", "5.5.5.5:443", "8.8.8.8:53"):
        found = bench.ask(asked)
        assert (found.outcome, found.verdict.reason) == (Outcome.REFUSED, Reason.NO_POLICY)
        assert "the control plane knows no such box" in found.summary
        assert found.agrees


def test_where_names_are_not_enforced_an_allowed_name_is_refused() -> None:
    found = AskedBox(NAMES, naming=None).ask("api.example.com:443")

    assert found.outcome is Outcome.REFUSED
    assert "not enforced on this node" in found.summary


Tamper = Callable[[set[Element]], set[Element]]


def without(name: str) -> Tamper:
    """Empty a set."""
    return lambda held: {one for one in held if one.set != name}


def pointing(mark: int) -> Tamper:
    """Let the lease lead to another grant."""
    return lambda held: {
        one._replace(value=mark.to_bytes(4, "little")) if one.set == "lease4" else one
        for one in held
    }


@pytest.mark.parametrize(
    ("asked", "tamper", "problem"),
    [
        ("5.5.5.5:443", without("lease4"), "the kernel has no entry, and should have a lease"),
        ("5.5.5.5:443", pointing(0x08000063), "grant 99, which is not that of a lease there"),
        ("5.5.5.5:443", without("live"), "is not in force"),
        ("104.16.1.1:443", without("allow4_12"), "should have an allowed network"),
        ("104.16.120.1:443", without("has_deny4"), "should have a denied network"),
        ("8.8.8.8:443", without("boxes"), "an interface that is not policed"),
    ],
    ids=["no lease", "another grant", "not live", "no network", "no gate", "not policed"],
)
def test_a_kernel_that_holds_something_else_is_told(
    asked: str, tamper: Tamper, problem: str
) -> None:
    bench = AskedBox(LISTS)
    bench.lease(API, FIVE)
    assert bench.ask(asked).agrees

    bench.kernel.held = tamper(bench.kernel.held)

    found = bench.ask(asked)
    assert not found.agrees
    assert problem in found.kernel[0].problem


def test_a_lease_whose_own_grant_is_gone_does_not_agree() -> None:
    bench = AskedBox(NAMES)
    bench.lease(API, FIVE)
    bench.lease(CDN, FIVE)
    second = bench.ask("img.cdn.example.com:443").leases[0].grant

    bench.kernel.held = {
        one
        for one in bench.kernel.held
        if one.set != "live" or one.key[4:] != second.to_bytes(4, "little")
    }

    assert bench.ask("api.example.com:443").agrees
    assert not bench.ask("img.cdn.example.com:443").agrees


@pytest.mark.parametrize(
    "error",
    [KernelRejected(errno.EPERM, "GETSET", "not permitted"), KernelUnsure("no answer")],
    ids=["refused", "unsure"],
)
def test_a_kernel_that_cannot_be_asked_does_not_agree(error: KernelError) -> None:
    bench = AskedBox(AllowAll())
    bench.kernel.fails = error

    found = bench.ask("8.8.8.8:443")

    assert found.outcome is Outcome.PASSES
    assert not found.agrees
    assert (found.kernel[0].held.kind, found.kernel[0].problem) == (Kind.UNKNOWN, str(error))


async def test_only_open_connections_of_the_box_that_carry_a_grant_are_counted() -> None:
    bench = AskedBox(AllowAll())

    def connection(source: str, mark: int, tcp_state: int) -> Connection:
        return Connection(Address.parse(source), FIVE, 6, 40000, 443, mark, tcp_state)

    bench.connections = [
        connection("10.77.1.2", 1, 3),
        connection("10.77.1.2", 1, 3),
        connection("10.77.1.2", 2, 3),
        connection("10.77.1.2", 1, 7),
        connection("10.77.1.2", 0, 3),
        connection("10.77.9.2", 1, 3),
    ]

    carried = await bench.explainer.carried(bench.hosted)

    assert carried is not None
    assert carried.by_grant == {1: 2, 2: 1}
    assert carried.to_address == {FIVE: 3}


POLICIES: st.SearchStrategy[Policy] = st.one_of(
    st.just(AllowAll()),
    st.just(DenyAll()),
    st.builds(
        lambda allowed, denied: Custom(
            allowed_domains=NAMES.allowed_domains,
            allowed_cidrs=tuple(allowed),
            denied_cidrs=tuple(denied),
        ),
        st.lists(networks(), max_size=4, unique=True),
        st.lists(networks(), max_size=4, unique=True),
    ),
)


@given(
    before=POLICIES,
    after=POLICIES,
    leased=st.lists(networks(), max_size=4),
    asked=st.lists(networks(), min_size=1, max_size=4),
)
def test_what_an_explanation_says_is_what_the_kernel_holds(
    before: Policy, after: Policy, leased: list[Network], asked: list[Network]
) -> None:
    bench = AskedBox(before)
    bench.lease(API, *(Address(one.version, one.first) for one in leased))
    bench.enforce(after)

    for network in (*asked, *leased):
        address = Address(network.version, network.first)
        found = bench.explainer.explain(bench.hosted, Destination(address=address, port=443))
        assert found.agrees, found
        verdict = decide(after, Destination(address=address))
        is_leased = bool(bench.enforcer.leasing.of("b1").at(address))
        passes = verdict.allowed or (is_leased and verdict.reason is Reason.NEEDS_NAME)
        assert (found.outcome is not Outcome.REFUSED) == passes
        assert (found.outcome is Outcome.PASSES) == verdict.allowed
        assert Carrier.TLS_SNI in found.carriers or verdict.allowed or not passes
