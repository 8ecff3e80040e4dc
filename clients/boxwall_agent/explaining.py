"""What would become of a connection that a box opened now, and does the kernel agree? Pure.

    Facts (policy, leases, what the kernel holds) -> explain -> Explanation

The policy is judged by `decide`, as everywhere; what the node knows besides, the leases, is put to
it as the name that led to an address. What the kernel holds is compared with that, entry by entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from boxwall.policy import (
    Address,
    Destination,
    Name,
    Protocol,
    Reason,
    Rule,
    RuleList,
    Surroundings,
    Verdict,
    decide,
)
from boxwall_agent.firstbytes.opening import WEB_PORTS
from boxwall_agent.held import Held, Kind
from boxwall_agent.hosted import NAMES_NOT_ENFORCED, Hosted
from boxwall_agent.judging import Passed, judge
from boxwall_agent.leases import Lease, Leases

MOST_ADDRESSES: Final = 16
"""Of one name, of which the kernel is asked."""

_DNS_PORT: Final = 53
_NOT_LISTED: Final = (Reason.NO_RULE, Reason.NEEDS_NAME)
_STREAM: Final = (Protocol.UNSPECIFIED, Protocol.TCP)
_ASKED_OF_DNS: Final = (*_STREAM, Protocol.UDP)

_KIND_OF: Final[Mapping[Reason, Kind]] = {
    Reason.RESERVED_ADDRESS: Kind.BLOCKED,
    Reason.DENIED_CIDR: Kind.DENIED,
    Reason.DENY_ALL: Kind.NOTHING,
    Reason.ALLOW_ALL: Kind.ALL,
    Reason.NOT_DENIED: Kind.ALL,
    Reason.ALLOWED_CIDR: Kind.ALLOWED,
}
"""What the kernel must hold for an address, by what the policy says of it."""


class Outcome(Enum):
    """What would happen."""

    REFUSED = "refused"
    PASSES = "passes"
    PASSES_IF_NAMED = "passes if named"
    RESOLVES = "resolves"
    """The name is allowed; its addresses are leased with the next DNS answer."""
    ANSWERED_HERE = "answered here"
    """DNS: the agent answers."""


class Carrier(Enum):
    """How a connection can carry a name that lets it pass."""

    TLS_SNI = "TLS with that server name (SNI)"
    HTTP_HOST = "clear HTTP/1, each request with that Host"
    ADDRESS = "a protocol that is neither TLS nor HTTP, by its address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known at one instant."""

    hosted: Hosted
    asked: Destination
    leases: Leases
    surroundings: Surroundings
    names_enforced: bool
    http_ports: frozenset[int] = frozenset()
    held: tuple[Held, ...] = ()
    """For each of `addresses_of`, on each interface of the box."""
    live: frozenset[int] = frozenset()
    """Of the grants of the leases that count: those that the kernel holds on each interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the kernel holds, and how that differs from what is meant. Empty: it does not."""

    held: Held
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answer."""

    asked: Destination
    outcome: Outcome
    verdict: Verdict
    summary: str
    names: tuple[Name, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    leases: tuple[Lease, ...] = ()
    live: frozenset[int] = field(default_factory=frozenset)
    kernel: tuple[Compared, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the kernel holds what the policy and the leases ask for."""
        is_whole = all(lease.grant in self.live for lease in self.leases)
        return is_whole and not any(one.problem for one in self.kernel)


_Found: TypeAlias = tuple[Outcome, Verdict, tuple[Name, ...], str]
"""Outcome, verdict, the names that let it pass, and what there is to say."""


def leases_of(asked: Destination, leases: Leases) -> tuple[Lease, ...]:
    """The leases, by which connections may begin, of the name or else at the address."""
    if asked.domain is None:
        return () if asked.address is None else tuple(leases.at(asked.address))
    if asked.address is not None:
        found = leases.find(asked.domain, asked.address)
        return () if found is None else (found,)
    of_name = (one for one in leases if one.name == asked.domain)
    return tuple(one for one in of_name if leases.find(*one.key) is not None)


def addresses_of(asked: Destination, leases: Leases) -> tuple[Address, ...]:
    """The addresses of which the kernel is to be asked."""
    if asked.address is not None:
        return (asked.address,)
    found = dict.fromkeys(lease.address for lease in leases_of(asked, leases))
    return tuple(found)[:MOST_ADDRESSES]


def explain(facts: Facts) -> Explanation:
    """Say what would happen, and whether the kernel holds what that asks for."""
    outcome, verdict, names, summary = _outcome(facts)
    return Explanation(
        asked=facts.asked,
        outcome=outcome,
        verdict=verdict,
        summary=summary,
        names=names,
        carriers=_carriers(facts) if names else (),
        leases=leases_of(facts.asked, facts.leases),
        live=facts.live,
        kernel=tuple(Compared(held=one, problem=_problem(facts, one)) for one in facts.held),
    )


def _outcome(facts: Facts) -> _Found:
    asked, policy = facts.asked, facts.hosted.policy
    verdict = _verdict(facts)
    if policy is not None and asked.port == _DNS_PORT and asked.protocol in _ASKED_OF_DNS:
        return Outcome.ANSWERED_HERE, verdict, (), "DNS to any server is answered by the agent"
    if not verdict.allowed:
        return Outcome.REFUSED, verdict, (), _why_refused(facts, verdict)
    if verdict.reason is not Reason.ALLOWED_DOMAIN:
        return Outcome.PASSES, verdict, (), _why_passed(facts, verdict)
    if not facts.names_enforced:
        return Outcome.REFUSED, verdict, (), NAMES_NOT_ENFORCED
    leases = leases_of(asked, facts.leases)
    if not leases:
        text = (
            f"{asked.domain} is not leased to the box yet: the next DNS answer for it leases its "
            "addresses, but for those that are blocked or denied"
        )
        return Outcome.RESOLVES, verdict, (), text
    if asked.protocol not in _STREAM:
        text = "its address is leased, and only TCP is asked for a name"
        return Outcome.PASSES, verdict, (), text
    names = tuple(dict.fromkeys(lease.name for lease in leases))
    shown = " or ".join(map(str, names))
    text = f"it passes if it names {shown}; one that names something else is refused NAME_MISMATCH"
    return Outcome.PASSES_IF_NAMED, verdict, names, text


def _verdict(facts: Facts) -> Verdict:
    """Semantics section 2, with the leases as the names that led to an address."""
    hosted, asked = facts.hosted, facts.asked
    if hosted.policy is None:
        return Verdict(allowed=False, reason=Reason.NO_POLICY)
    around, revision = facts.surroundings, hosted.revision
    verdict = decide(hosted.policy, asked, revision=revision, surroundings=around)
    if asked.address is None:
        return verdict
    if asked.domain is None:
        leased = facts.leases.at(asked.address)
        if not leased or verdict.reason not in _NOT_LISTED:
            return verdict
        named = Destination(
            domain=leased[0].name, address=asked.address, port=asked.port, protocol=asked.protocol
        )
        return decide(hosted.policy, named, revision=revision, surroundings=around)
    if verdict.reason is not Reason.ALLOWED_DOMAIN:
        return verdict
    judged = judge(hosted.policy, facts.leases, around, asked.address, asked.domain)
    if isinstance(judged, Passed):
        return verdict
    return Verdict(allowed=False, reason=judged.reason, rule=judged.rule, policy_revision=revision)


def _why_refused(facts: Facts, verdict: Verdict) -> str:
    if verdict.reason is Reason.NO_POLICY:
        return f"nothing passes: {facts.hosted.message}"
    if verdict.reason is Reason.NAME_MISMATCH:
        return f"{facts.asked.domain} has not led the box to that address: it must resolve it first"
    if facts.asked.address is None and verdict.reason is not Reason.QUIC_BY_NAME:
        return f"a DNS question for {facts.asked.domain} is refused, and asked of nobody"
    rule = "" if verdict.rule is None else f" ({_shown(verdict.rule)})"
    return f"the kernel refuses it: {verdict.reason.value}{rule}"


def _why_passed(facts: Facts, verdict: Verdict) -> str:
    if facts.asked.address is None:
        return "every name resolves; its addresses pass unless they are blocked or denied"
    return f"it passes, whatever it names: {verdict.reason.value}"


def _shown(rule: Rule) -> str:
    return rule.text if rule.list is RuleList.ALWAYS_BLOCKED else str(rule)


def _carriers(facts: Facts) -> tuple[Carrier, ...]:
    port = facts.asked.port
    if port in facts.http_ports:
        return Carrier.HTTP_HOST, Carrier.TLS_SNI
    if port is None or port in WEB_PORTS:
        return (Carrier.TLS_SNI,)
    return Carrier.TLS_SNI, Carrier.ADDRESS


def _problem(facts: Facts, held: Held) -> str:
    """How what the kernel holds differs from what is meant; empty: it does not."""
    if held.kind is Kind.UNKNOWN:
        return held.why_unknown
    meant = _meant(facts, held.address)
    if held.kind not in meant:
        wanted = " or ".join(kind.value for kind in meant)
        return f"the kernel has {held.kind.value}, and should have {wanted}"
    if held.kind is Kind.LEASED and held.grant != facts.leases.chosen.get(held.address):
        return f"the kernel leads to grant {held.grant}, which is not that of a lease there"
    if held.grant and not held.is_live:
        return f"grant {held.grant} is not in force"
    return ""


def _meant(facts: Facts, address: Address) -> tuple[Kind, ...]:
    """What the kernel is meant to hold for an address."""
    policy = facts.hosted.policy
    if policy is None:
        return Kind.NOTHING, Kind.BLOCKED
    reason = decide(policy, Destination(address=address), surroundings=facts.surroundings).reason
    if reason in _NOT_LISTED:
        return (Kind.LEASED if facts.leases.at(address) else Kind.NOTHING,)
    return (_KIND_OF[reason],)
