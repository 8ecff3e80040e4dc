"""Laws that hold for every policy and every destination."""

import importlib.util
import ipaddress
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from hypothesis import example, given, settings
from hypothesis import strategies as st

from boxwall.policy import (
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    DomainPattern,
    EntryError,
    InvalidPolicy,
    Name,
    Network,
    NetworkTable,
    Parsed,
    Policy,
    Protocol,
    Reason,
    Surroundings,
    Unlisted,
    decide,
    ip_literal,
    lint,
    load_document,
    matching_domain,
    policy_from_document,
    policy_to_document,
)


def _load_reference() -> ModuleType:
    """Load by path: two folders are called boxwall/policy, and only one of them can be imported."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("policy_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


reference = _load_reference()

T = TypeVar("T")
X = TypeVar("X")


def attempt(parse: Callable[[X], T], text: X) -> T | EntryError | InvalidPolicy:
    """What `parse` returns, or the error that it raises."""
    try:
        return parse(text)
    except (EntryError, InvalidPolicy) as error:
        return error


# Few labels and few prefixes, so that entries and destinations meet often.
LABELS = st.sampled_from(["a", "_b"])
NAMES = st.builds(
    lambda labels, last: ".".join([*labels, last]),
    st.lists(LABELS, min_size=1, max_size=2),
    st.just("test"),
)
PATTERNS = st.builds(
    lambda star, name: DomainPattern.parse(star + name), st.sampled_from(["", "*."]), NAMES
)
BASES = st.sampled_from(
    [
        *map(Address.parse, ("11.0.0.0", "11.0.1.0", "168.63.129.16", "9.255.255.255", "1.1.1.1")),
        *map(Address.parse, ("192.167.255.255", "223.255.255.255", "2606:4700::", "2a00::1")),
        *map(Address.parse, ("1fff:ffff::1", "3fff:1000::", "2001:200::", "::ffff:1.1.1.1")),
    ]
)
LENGTHS = {4: (0, 5, 8, 15, 23, 24, 31, 32), 6: (0, 3, 12, 32, 48, 64, 127, 128)}


@st.composite
def networks(draw: st.DrawFn) -> Network:
    base = draw(BASES)
    length = draw(st.sampled_from(LENGTHS[base.version]))
    width = 32 if base.version == 4 else 128
    return Network(base.version, base.value >> (width - length) << (width - length), length)


def is_entry(network: Network) -> bool:
    return (
        Address(network.version, network.first) == Address(network.version, network.first).as_sent
    )


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    base = draw(st.one_of(BASES, networks().map(lambda n: Address(n.version, n.last))))
    top = (1 << (32 if base.version == 4 else 128)) - 1
    step = draw(st.sampled_from([-1, 0, 0, 1, 256]))
    return Address(base.version, min(max(base.value + step, 0), top))


ANY_ADDRESS = st.one_of(
    addresses(),
    addresses(),
    addresses(),
    addresses(),
    st.integers(0, 2**32 - 1).map(lambda value: Address(4, value)),
    st.integers(0, 2**128 - 1).map(lambda value: Address(6, value)),
)


PUBLIC = st.sampled_from([Address.parse("1.1.1.1"), Address.parse("2606:4700::1")])


@st.composite
def destinations(draw: st.DrawFn) -> Destination:
    domain = draw(st.one_of(st.none(), NAMES.map(Name.parse)))
    address = draw(ANY_ADDRESS if domain is None else st.one_of(st.none(), PUBLIC, ANY_ADDRESS))
    quic = (443, Protocol.UDP)
    others = st.tuples(st.sampled_from([None, 1, 53, 443, 65535]), st.sampled_from(Protocol))
    port, protocol = draw(st.one_of(st.just(quic), others))
    return Destination(domain=domain, address=address, port=port, protocol=protocol)


def unique(entries: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(entries, max_size=5, unique=True).map(tuple)


ENTRY_NETWORKS = networks().filter(is_entry)
ALLOW_LISTS = st.builds(
    Custom,
    allowed_domains=unique(PATTERNS),
    allowed_cidrs=unique(ENTRY_NETWORKS),
    denied_cidrs=unique(ENTRY_NETWORKS),
)
DENY_LISTS = st.builds(
    Custom, denied_cidrs=unique(ENTRY_NETWORKS), unlisted=st.just(Unlisted.ALLOW)
)
CUSTOMS = st.one_of(ALLOW_LISTS, ALLOW_LISTS, DENY_LISTS)
POLICIES: st.SearchStrategy[Policy] = st.one_of(CUSTOMS, st.just(AllowAll()), st.just(DenyAll()))


@settings(max_examples=400)
@given(policy=POLICIES, destination=destinations(), spoofed=st.sampled_from([False] * 5 + [True]))
def test_decide_agrees_with_a_linear_scan(
    policy: Policy, destination: Destination, spoofed: bool
) -> None:
    more = Network.parse("11.0.0.0/25")
    surroundings = Surroundings(spoofed_source=spoofed, blocked=NetworkTable([(more, "a node")]))
    verdict = decide(policy, destination, surroundings=surroundings)
    asked = reference.Asked(
        domain=destination.domain.text if destination.domain else "",
        address=str(destination.address) if destination.address else "",
        port=destination.port or 0,
        protocol=destination.protocol.value,
        spoofed=spoofed,
        also_blocked=("11.0.0.0/25",),
    )
    allowed, reason, text = reference.judge(policy_to_document(policy), asked)
    assert (verdict.allowed, verdict.reason.value) == (allowed, reason)
    if reason != "RESERVED_ADDRESS":
        assert (verdict.rule.text if verdict.rule else "") == text


@settings(max_examples=300)
@given(policy=CUSTOMS, destination=destinations(), denied=networks())
def test_deny_wins_whatever_else_is_listed(
    policy: Custom, destination: Destination, denied: Network
) -> None:
    tighter = Custom(
        allowed_domains=policy.allowed_domains,
        allowed_cidrs=policy.allowed_cidrs,
        denied_cidrs=(*policy.denied_cidrs, denied),
        unlisted=policy.unlisted,
    )
    verdict = decide(tighter, destination)
    if destination.address is not None and destination.address in denied:
        assert not verdict.allowed
        assert verdict.reason in (Reason.DENIED_CIDR, Reason.RESERVED_ADDRESS)


@settings(max_examples=300)
@given(policy=CUSTOMS, destination=destinations(), denied=networks())
def test_with_unlisted_fixed_adding_a_deny_never_widens(
    policy: Custom, destination: Destination, denied: Network
) -> None:
    tighter = Custom(
        allowed_domains=policy.allowed_domains,
        allowed_cidrs=policy.allowed_cidrs,
        denied_cidrs=(*policy.denied_cidrs, denied),
        unlisted=policy.unlisted,
    )
    assert decide(policy, destination).allowed or not decide(tighter, destination).allowed


@settings(max_examples=300)
@given(
    policy=ALLOW_LISTS,
    destination=destinations(),
    domains=unique(PATTERNS),
    cidrs=unique(ENTRY_NETWORKS),
)
def test_with_unlisted_fixed_adding_an_allow_never_narrows(
    policy: Custom,
    destination: Destination,
    domains: tuple[DomainPattern, ...],
    cidrs: tuple[Network, ...],
) -> None:
    wider = Custom(
        allowed_domains=policy.allowed_domains + domains,
        allowed_cidrs=policy.allowed_cidrs + cidrs,
        denied_cidrs=policy.denied_cidrs,
    )
    assert decide(wider, destination).allowed or not decide(policy, destination).allowed


@given(policy=ALLOW_LISTS, destination=destinations())
def test_the_order_of_entries_does_not_matter(policy: Custom, destination: Destination) -> None:
    turned = Custom(
        allowed_domains=policy.allowed_domains[::-1],
        allowed_cidrs=policy.allowed_cidrs[::-1],
        denied_cidrs=policy.denied_cidrs[::-1],
    )
    assert decide(turned, destination) == decide(policy, destination)


@given(policy=POLICIES, name=NAMES.map(Name.parse))
def test_the_matching_domain_is_an_entry_that_matches_and_none_is_missed(
    policy: Policy, name: Name
) -> None:
    entries = policy.allowed_domains if isinstance(policy, Custom) else ()
    found = matching_domain(policy, name)
    assert (found is None) == (not any(entry.matches(name) for entry in entries))
    assert found is None or (found in entries and found.matches(name))


@given(policy=POLICIES)
def test_a_document_is_read_back_as_the_same_policy(policy: Policy) -> None:
    document = policy_to_document(policy)
    parsed = policy_from_document(document)
    assert parsed.policy == policy
    assert parsed.duplicates == ()
    assert policy_to_document(parsed.policy) == document


@given(policy=POLICIES, previous=POLICIES)
def test_any_policy_can_be_linted(policy: Policy, previous: Policy) -> None:
    for warning in lint(policy_from_document(policy_to_document(policy)), previous):
        assert warning.message


TEXT_OF_NAMES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="aB9-_.*:/@[]é。\u200d \0", max_size=12),
    NAMES.map(str.upper),
    st.sampled_from(["https://api.github.com/x", "*foo.com", "**.x.com", "*.*.x.com", ".x.com"]),
)


@given(text=TEXT_OF_NAMES)
@example("K.com")  # the Kelvin sign lower-cases to an ASCII letter
@example("a。b")
def test_canonical_domains_are_canonical_and_fixes_are_accepted(text: str) -> None:
    pattern = attempt(DomainPattern.parse, text)
    if not isinstance(pattern, DomainPattern):
        error = pattern
        assert isinstance(error, EntryError)
        if error.suggestion is not None:
            assert DomainPattern.parse(error.suggestion).text == error.suggestion
            assert error.message.endswith(f"; use {error.suggestion}")
        assert error.message.isprintable()
        assert len(error.message) < 400
        return
    assert DomainPattern.parse(pattern.text) == pattern
    assert pattern.text.isascii()
    assert pattern.text == pattern.text.lower()
    assert pattern.is_wildcard or Name.parse(text).text == pattern.text


TEXT_OF_NETWORKS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="0129af.:/%[]x ", max_size=14),
    ANY_ADDRESS.map(str),
    st.builds("{}/{}".format, ANY_ADDRESS, st.integers(-1, 130)),
    st.builds(
        "{}.{}.{}.{}/{}".format, *[st.sampled_from(["0", "00", "1", "08", "256"])] * 4, st.just(8)
    ),
)


@given(text=TEXT_OF_NETWORKS)
@example("\udc80::1")
@example("²::")
def test_canonical_networks_are_canonical_and_fixes_are_accepted(text: str) -> None:
    network = attempt(Network.parse, text)
    if not isinstance(network, Network):
        error = network
        assert isinstance(error, EntryError)
        if error.suggestion is not None:
            Network.parse(error.suggestion)
            assert error.message.endswith(f"; use {error.suggestion}")
        assert error.message.isprintable()
        return
    assert Network.parse(str(network)) == network
    assert ipaddress.ip_network(text) == ipaddress.ip_network(str(network))


@given(text=TEXT_OF_NETWORKS)
def test_addresses_are_read_as_the_standard_library_reads_them(text: str) -> None:
    try:
        expected = str(int(ipaddress.ip_address(text))) if "%" not in text else None
    except ValueError:
        expected = None
    found = attempt(Address.parse, text)
    if isinstance(found, EntryError) and found.suggestion is not None:
        Address.parse(found.suggestion)
    actual = str(found.value) if isinstance(found, Address) else None
    assert actual == expected


@given(address=ANY_ADDRESS)
def test_an_address_is_read_back_from_its_text(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert ip_literal(f"[{address}]") == address
    if address.version == 6 and not str(address).rpartition(":")[2].count("."):
        assert str(address) == str(ipaddress.IPv6Address(address.value))


@given(destination=destinations())
def test_a_destination_is_read_back_from_its_text(destination: Destination) -> None:
    if destination.domain is not None and destination.address is not None:
        return
    if destination.address != (destination.address and destination.address.as_sent):
        return
    assert Destination.parse(str(destination)) == destination


@given(entries=st.lists(networks(), max_size=8), address=ANY_ADDRESS, around=networks())
def test_a_table_finds_the_most_specific_network(
    entries: list[Network], address: Address, around: Network
) -> None:
    table = NetworkTable((entry, index) for index, entry in enumerate(entries))
    holding = [entry for entry in entries if address in entry]
    found = table.find(address)
    if not holding:
        assert found is None
    else:
        best = max(holding, key=lambda entry: entry.prefix_length)
        assert found == (best, entries.index(best))
    overlapping = {entry for entry in entries if entry in around or around in entry}
    assert any(table.within(around)) == bool(overlapping)
    assert all(table.within(around)) >= any(around in entry for entry in entries)


@given(
    text=st.one_of(st.text(max_size=40), st.text(alphabet="{}[]:,&*!|-?<\n 12a'\"", max_size=30))
)
@example("a: 2026-13-41")
@example("a: !!float x")
@example("!!binary x: 1")
@example("{" * 2000)
@example("? [a]\n: b")
@example("a: !!int ''")
@example("\x80")
@example("a: 1:9999999999:1")
def test_any_text_is_a_mapping_or_an_invalid_policy(text: str) -> None:
    document = attempt(load_document, text)
    if isinstance(document, EntryError | InvalidPolicy):
        assert isinstance(document, InvalidPolicy)
        assert document.violations
        return
    parsed = attempt(policy_from_document, document)
    assert isinstance(parsed, Parsed | InvalidPolicy)


KEYS = ["mode", "allowed_domains", "allowedCidrs", "denied_cidrs", "unlisted", "nonsense"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(["custom", "allow-all", "deny-all", "allow", "deny", "custon"]),
    st.lists(st.one_of(st.none(), st.sampled_from(["a.test", "10.0.0.0/8", "10.0.0.1/8"]))),
)


@given(document=st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_mapping_is_a_policy_or_an_invalid_policy(document: dict[str, object]) -> None:
    parsed = attempt(policy_from_document, document)
    if isinstance(parsed, InvalidPolicy):
        assert parsed.violations
        return
    assert isinstance(parsed, Parsed)
    again = policy_from_document(policy_to_document(parsed.policy))
    assert again.policy == parsed.policy


def test_verdicts_of_generated_policies_cover_every_reason_that_decide_gives() -> None:
    """Guards the strategies above: a law about cases that never come up proves nothing."""
    seen: set[Reason] = set()

    @settings(max_examples=800)
    @given(policy=POLICIES, destination=destinations())
    def collect(policy: Policy, destination: Destination) -> None:
        seen.add(decide(policy, destination).reason)

    collect()
    assert seen == {
        Reason.RESERVED_ADDRESS,
        Reason.DENY_ALL,
        Reason.ALLOW_ALL,
        Reason.DENIED_CIDR,
        Reason.ALLOWED_CIDR,
        Reason.ALLOWED_DOMAIN,
        Reason.NOT_DENIED,
        Reason.NO_RULE,
        Reason.NEEDS_NAME,
        Reason.QUIC_BY_NAME,
    }
