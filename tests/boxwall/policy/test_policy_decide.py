from dataclasses import dataclass

import pytest

from boxwall.policy import (
    ALWAYS_BLOCKED,
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    DomainPattern,
    Name,
    Network,
    NetworkTable,
    Policy,
    Protocol,
    Reason,
    Rule,
    RuleList,
    Surroundings,
    Unlisted,
    Verdict,
    decide,
    matching_domain,
)


def custom(
    domains: str = "", allowed: str = "", denied: str = "", unlisted: Unlisted = Unlisted.DENY
) -> Custom:
    return Custom(
        allowed_domains=tuple(map(DomainPattern.parse, domains.split())),
        allowed_cidrs=tuple(map(Network.parse, allowed.split())),
        denied_cidrs=tuple(map(Network.parse, denied.split())),
        unlisted=unlisted,
    )


def to(
    domain: str = "",
    address: str = "",
    port: int | None = None,
    protocol: Protocol = Protocol.UNSPECIFIED,
) -> Destination:
    return Destination(
        domain=Name.parse(domain) if domain else None,
        address=Address.parse(address) if address else None,
        port=port,
        protocol=protocol,
    )


@dataclass(frozen=True)
class Case:
    policy: Policy
    to: Destination
    reason: Reason
    rule: Rule | None
    allowed: bool = False


def mode(text: str) -> Rule:
    return Rule(RuleList.MODE, text)


def domain(text: str) -> Rule:
    return Rule(RuleList.ALLOWED_DOMAINS, text)


UNLISTED_DENY = Rule(RuleList.UNLISTED, "deny")
UNLISTED_ALLOW = Rule(RuleList.UNLISTED, "allow")
PRIVATE = Rule(RuleList.ALWAYS_BLOCKED, "10.0.0.0/8 (private, RFC 1918)")
DENY_LIST = custom(denied="11.0.0.0/8", unlisted=Unlisted.ALLOW)
MIXED = custom("a.test *.b.test", "11.0.0.0/8 2606:4700::/32", "11.1.0.0/16 2606:4700:1::/48")

CASES = {
    "reserved beats deny-all": Case(
        DenyAll(), to(address="10.0.0.1"), Reason.RESERVED_ADDRESS, PRIVATE
    ),
    "reserved beats allow-all": Case(
        AllowAll(), to("a.test", "10.0.0.1"), Reason.RESERVED_ADDRESS, PRIVATE
    ),
    "reserved beats an allowed CIDR": Case(
        custom(allowed="10.0.0.0/8"), to(address="10.0.0.1"), Reason.RESERVED_ADDRESS, PRIVATE
    ),
    "reserved beats an allowed domain": Case(
        MIXED, to("a.test", "10.0.0.1"), Reason.RESERVED_ADDRESS, PRIVATE
    ),
    "a mapped address in a packet is blocked": Case(
        AllowAll(),
        to(address="::ffff:1.1.1.1"),
        Reason.RESERVED_ADDRESS,
        Rule(RuleList.ALWAYS_BLOCKED, "::ffff:0.0.0.0/96 (IPv4-mapped, RFC 4291)"),
    ),
    "deny-all denies addresses": Case(
        DenyAll(), to(address="1.1.1.1"), Reason.DENY_ALL, mode("deny-all")
    ),
    "deny-all denies names": Case(DenyAll(), to("a.test"), Reason.DENY_ALL, mode("deny-all")),
    "allow-all allows addresses": Case(
        AllowAll(), to(address="1.1.1.1"), Reason.ALLOW_ALL, mode("allow-all"), allowed=True
    ),
    "allow-all allows names": Case(
        AllowAll(), to("a.test"), Reason.ALLOW_ALL, mode("allow-all"), allowed=True
    ),
    "deny beats an allowed CIDR": Case(
        MIXED,
        to(address="11.1.2.3"),
        Reason.DENIED_CIDR,
        Rule(RuleList.DENIED_CIDRS, "11.1.0.0/16"),
    ),
    "deny beats an allowed CIDR that is more specific": Case(
        custom(allowed="11.1.1.0/24", denied="11.0.0.0/8"),
        to(address="11.1.1.1"),
        Reason.DENIED_CIDR,
        Rule(RuleList.DENIED_CIDRS, "11.0.0.0/8"),
    ),
    "deny beats an allowed domain": Case(
        MIXED,
        to("a.test", "2606:4700:1::1"),
        Reason.DENIED_CIDR,
        Rule(RuleList.DENIED_CIDRS, "2606:4700:1::/48"),
    ),
    "an allowed CIDR": Case(
        MIXED,
        to(address="2606:4700::1"),
        Reason.ALLOWED_CIDR,
        Rule(RuleList.ALLOWED_CIDRS, "2606:4700::/32"),
        allowed=True,
    ),
    "an allowed CIDR comes before the name": Case(
        MIXED,
        to("a.test", "11.0.0.1", 443, Protocol.UDP),
        Reason.ALLOWED_CIDR,
        Rule(RuleList.ALLOWED_CIDRS, "11.0.0.0/8"),
        allowed=True,
    ),
    "the most specific CIDR is named": Case(
        custom(allowed="11.0.0.0/8 11.2.0.0/16"),
        to(address="11.2.0.1"),
        Reason.ALLOWED_CIDR,
        Rule(RuleList.ALLOWED_CIDRS, "11.2.0.0/16"),
        allowed=True,
    ),
    "an allowed name and its address": Case(
        MIXED, to("a.test", "1.1.1.1"), Reason.ALLOWED_DOMAIN, domain("a.test"), allowed=True
    ),
    "an allowed name alone": Case(
        MIXED, to("x.y.b.test"), Reason.ALLOWED_DOMAIN, domain("*.b.test"), allowed=True
    ),
    "the apex of a wildcard": Case(MIXED, to("b.test"), Reason.NO_RULE, UNLISTED_DENY),
    "an exact entry is named before a wildcard": Case(
        custom("*.b.test x.b.test"),
        to("x.b.test"),
        Reason.ALLOWED_DOMAIN,
        domain("x.b.test"),
        allowed=True,
    ),
    "the longest wildcard is named": Case(
        custom("*.test *.b.test"),
        to("x.b.test"),
        Reason.ALLOWED_DOMAIN,
        domain("*.b.test"),
        allowed=True,
    ),
    "QUIC by name": Case(
        MIXED, to("a.test", "1.1.1.1", 443, Protocol.UDP), Reason.QUIC_BY_NAME, domain("a.test")
    ),
    "QUIC by name alone": Case(
        MIXED, to("a.test", "", 443, Protocol.UDP), Reason.QUIC_BY_NAME, domain("a.test")
    ),
    "UDP by name to another port": Case(
        MIXED,
        to("a.test", "1.1.1.1", 123, Protocol.UDP),
        Reason.ALLOWED_DOMAIN,
        domain("a.test"),
        allowed=True,
    ),
    "TCP by name to port 443": Case(
        MIXED,
        to("a.test", "1.1.1.1", 443, Protocol.TCP),
        Reason.ALLOWED_DOMAIN,
        domain("a.test"),
        allowed=True,
    ),
    "an unknown protocol by name to port 443": Case(
        MIXED, to("a.test", "", 443), Reason.ALLOWED_DOMAIN, domain("a.test"), allowed=True
    ),
    "the deny-list form denies what is listed": Case(
        DENY_LIST,
        to("a.test", "11.0.0.1"),
        Reason.DENIED_CIDR,
        Rule(RuleList.DENIED_CIDRS, "11.0.0.0/8"),
    ),
    "the deny-list form allows other addresses": Case(
        DENY_LIST, to(address="1.1.1.1"), Reason.NOT_DENIED, UNLISTED_ALLOW, allowed=True
    ),
    "the deny-list form allows QUIC, for names are not checked": Case(
        DENY_LIST,
        to("a.test", "1.1.1.1", 443, Protocol.UDP),
        Reason.NOT_DENIED,
        UNLISTED_ALLOW,
        allowed=True,
    ),
    "three empty lists deny everything": Case(
        custom(), to("a.test", "1.1.1.1"), Reason.NO_RULE, UNLISTED_DENY
    ),
    "an address alone, no domains listed": Case(
        custom(allowed="11.0.0.0/8"), to(address="1.1.1.1"), Reason.NO_RULE, UNLISTED_DENY
    ),
    "an address alone, domains listed": Case(
        MIXED, to(address="1.1.1.1"), Reason.NEEDS_NAME, UNLISTED_DENY
    ),
    "another name and an address": Case(
        MIXED, to("c.test", "1.1.1.1"), Reason.NO_RULE, UNLISTED_DENY
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_destination_gets_its_verdict(case: Case) -> None:
    verdict = decide(case.policy, case.to, revision=7)
    assert verdict == Verdict(
        allowed=case.allowed, reason=case.reason, rule=case.rule, policy_revision=7
    )


def test_a_spoofed_source_is_denied_before_anything_else() -> None:
    spoofed = Surroundings(spoofed_source=True)
    verdict = decide(AllowAll(), to(address="10.0.0.1"), surroundings=spoofed)
    assert verdict == Verdict(allowed=False, reason=Reason.SPOOFED_SOURCE)


def test_every_end_of_every_always_blocked_range_is_blocked_in_every_mode() -> None:
    for network, _ in ALWAYS_BLOCKED:
        everything = custom(allowed=f"0.0.0.0/0 ::/0 {Network(4, 0, 1)}")
        for value in (network.first, network.last):
            address = Address(network.version, value)
            for policy in (AllowAll(), DenyAll(), DENY_LIST, everything):
                verdict = decide(policy, Destination(address=address))
                assert (verdict.allowed, verdict.reason) == (False, Reason.RESERVED_ADDRESS)


NEIGHBOURS = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2000::",
    "2000:ffff::1",
    "2001:200::",
    "2001:db7:ffff::1",
    "2001:db9::",
    "2003::",
    "3ffe:ffff::1",
    "3fff:1000::",
]


@pytest.mark.parametrize("address", NEIGHBOURS)
def test_the_neighbours_of_always_blocked_ranges_are_not_blocked(address: str) -> None:
    assert decide(AllowAll(), to(address=address)).allowed


def test_what_the_agent_adds_is_blocked_and_nothing_is_taken_away() -> None:
    node = Network.parse("1.1.1.1")
    surroundings = Surroundings(blocked=NetworkTable([(node, "this node")]))
    verdict = decide(AllowAll(), to(address="1.1.1.1"), surroundings=surroundings)
    assert verdict.rule == Rule(RuleList.ALWAYS_BLOCKED, "1.1.1.1/32 (this node)")
    assert not decide(AllowAll(), to(address="10.0.0.1"), surroundings=surroundings).allowed
    assert decide(AllowAll(), to(address="1.1.1.2"), surroundings=surroundings).allowed


def test_an_allow_by_name_alone_states_its_condition() -> None:
    by_name = decide(MIXED, to("a.test"))
    assert "if its address is not blocked or denied" in by_name.explanation
    assert "if its address" not in decide(MIXED, to("a.test", "1.1.1.1")).explanation
    assert "if its address" not in decide(MIXED, to("c.test")).explanation


def test_the_matching_domain_is_the_most_specific_entry() -> None:
    policy = custom("*.test x.b.test *.b.test")
    assert str(matching_domain(policy, Name.parse("x.b.test"))) == "x.b.test"
    assert str(matching_domain(policy, Name.parse("y.b.test"))) == "*.b.test"
    assert str(matching_domain(policy, Name.parse("b.test"))) == "*.test"
    assert matching_domain(policy, Name.parse("b.example")) is None
    assert matching_domain(AllowAll(), Name.parse("b.test")) is None


def test_the_index_is_built_once_and_is_no_part_of_the_value() -> None:
    policy, twin = custom("a.test"), custom("a.test")
    assert policy.index is policy.index
    assert policy == twin
    assert hash(policy) == hash(twin)
    assert "index" not in repr(policy)
