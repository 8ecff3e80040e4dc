"""Whatever the policy, the question and the answer: no name that is not allowed goes upstream, and
no address that is blocked or denied is leased or told."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from boxwall.policy import (
    Address,
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    Name,
    Network,
    NetworkTable,
    Policy,
    Reason,
    Surroundings,
    Unlisted,
    decide,
    matching_domain,
)
from boxwall_agent.dns.answer import Record
from boxwall_agent.dns.session import Ask, Asker, Limits, Reply, Session
from fakes.dns_messages import addresses_in, alias_record, answer_with, on_wire, query_for, read
from fakes.policy_strategies import POLICIES

_SURROUNDINGS = Surroundings(blocked=NetworkTable([(Network.parse("8.0.0.0/6"), "near")]))
_LIMITS = Limits()
_KINDS = st.sampled_from(["A", "AAAA", "TXT", "CNAME", "HTTPS", "SVCB", "ANY", "AXFR", "NS"])
_MAYBE_POLICY = st.none() | POLICIES


@st.composite
def _names(draw: st.DrawFn, policy: Policy | None) -> str:
    """One that an entry matches, as often as not."""
    labels = draw(st.lists(st.sampled_from(["a", "B", "c0", "test", "_dmarc"]), max_size=4))
    entries = policy.allowed_domains if isinstance(policy, Custom) else ()
    is_listed: bool = draw(st.booleans())
    if entries and is_listed:
        entry = draw(st.sampled_from(entries))
        labels = [*(labels if entry.is_wildcard or draw(st.booleans()) else []), entry.apex]
    return ".".join(labels) or "."


@st.composite
def _addresses(draw: st.DrawFn, policy: Policy | None) -> Address:
    """One that an entry holds, as often as not."""
    entries: list[Network] = [
        Network.parse(one) for one in ("10.0.0.0/8", "8.0.0.0/6", "2600::/16")
    ]
    if isinstance(policy, Custom):
        entries += [*policy.denied_cidrs, *policy.allowed_cidrs]
    version, first, width = 4, 0, 32
    if draw(st.booleans()):
        entry = draw(st.sampled_from(entries))
        version, first = entry.version, entry.first
        width = (32 if version == 4 else 128) - entry.prefix_length
    return Address(version, first + draw(st.integers(0, 2**width - 1)))


def _record(owner: bytes, address: Address, ttl: int) -> Record:
    octets = 4 if address.version == 4 else 16
    kind = 1 if address.version == 4 else 28
    return Record(owner, kind, ttl, address.value.to_bytes(octets, "big"), address)


def _may_be_asked(policy: Policy | None, name: str) -> bool:
    """Semantics section 5, once more and as plainly as can be."""
    match policy:
        case None | DenyAll():
            return False
        case AllowAll() | Custom(unlisted=Unlisted.ALLOW):
            return True
        case Custom() if name.count(".") > 0 and name != ".":
            return matching_domain(policy, Name.parse(name)) is not None
    return False


def _is_removed(policy: Policy, address: Address) -> bool:
    verdict = decide(policy, Destination(address=address), surroundings=_SURROUNDINGS)
    return verdict.reason in (Reason.RESERVED_ADDRESS, Reason.DENIED_CIDR)


@given(st.data())
def test_no_name_or_address_gets_past_a_policy(data: st.DataObject) -> None:
    before, after = data.draw(_MAYBE_POLICY), data.draw(_MAYBE_POLICY)
    after = before if data.draw(st.booleans()) else after
    name, kind = data.draw(_names(before)), data.draw(_KINDS)
    leased: dict[Address, float] = {}

    def lease(box_id: str, by: Name, addresses: Sequence[Address], seconds: float) -> bool:
        assert by.text == name.lower()
        leased.update(dict.fromkeys(addresses, seconds))
        return can_lease

    can_lease = data.draw(st.booleans())
    session = Session(lease, _LIMITS)
    asker = Asker(box_id="b", policy=before, revision=1, surroundings=_SURROUNDINGS)
    commands = session.query(asker, query_for(name, kind), "to", 0.0)
    asks = [one for one in commands if isinstance(one, Ask)]
    if not _may_be_asked(before, name):
        assert asks == []
    if not asks:
        assert leased == {}
        return

    ttls = st.sampled_from([0, 3, 60, 86_400])
    owner = asks[0].question.raw[:-4].lower()
    records = [
        _record(on_wire("end.test"), one, data.draw(ttls))
        for one in data.draw(st.lists(_addresses(after), max_size=5))
    ]
    alias = Record(owner, 5, data.draw(ttls), alias_record("x", "end.test").data)
    later = Asker(box_id="b", policy=after, revision=2, surroundings=_SURROUNDINGS)
    commands = session.answered(asks[0].key, answer_with(alias, *records), later, 0.0)
    (reply,) = [one.data for one in commands if isinstance(one, Reply)]
    told = [Address.parse(one) for one in addresses_in(reply)]
    if not _may_be_asked(after, name):
        assert (told, leased) == ([], {})
        return
    assert after is not None
    assert not any(_is_removed(after, one) for one in (*told, *leased))
    if isinstance(after, Custom) and after.unlisted is Unlisted.DENY:
        assert can_lease or not told
        assert set(told) <= set(leased), "told, and not in force"
        for one in read(reply).answer if told else ():
            assert one.ttl + _LIMITS.grace <= min(leased.values()), "told for longer than leased"
