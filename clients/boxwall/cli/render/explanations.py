"""What a node says of connections, as lines and as a document."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from boxwall.cli.render.documents import Document, Json, time_document, verdict_document
from boxwall.cli.render.text import safe
from boxwall.sdk.explanation import (
    Carrier,
    EntryKind,
    Explanation,
    KernelEntry,
    LeasedName,
    Outcome,
)

_OUTCOME: Final = {
    Outcome.UNKNOWN: "unknown (the agent is newer than this program)",
    Outcome.REFUSED: "refused",
    Outcome.PASSES: "passes",
    Outcome.PASSES_IF_NAMED: "passes if named",
    Outcome.RESOLVES: "not leased yet",
    Outcome.ANSWERED_HERE: "answered by the agent",
}
_CARRIER: Final = {
    Carrier.UNKNOWN: "in a way that this program does not know",
    Carrier.TLS_SNI: "as the server name (SNI) of TLS",
    Carrier.HTTP_HOST: "as the Host of every request of clear HTTP",
    Carrier.ADDRESS: "or not at all, if it is neither TLS nor HTTP",
}
_KIND: Final = {
    EntryKind.UNKNOWN: "not known",
    EntryKind.NOTHING: "no entry",
    EntryKind.NOT_POLICED: "the interface is not policed",
}


def explanation_lines(asked: str, explained: Explanation, now: datetime) -> Iterator[str]:
    """Safe lines about one destination, which is repeated as it was written."""
    verdict = explained.verdict
    yield safe(f"{asked}: {_OUTCOME[explained.outcome]}")
    yield safe(f"          {explained.summary}")
    outcome = "allow" if verdict.allowed else "deny"
    rule = "" if verdict.rule is None else f" by {verdict.rule}"
    yield safe(f"  policy  {outcome} {verdict.reason.value}{rule}, revision {_revision(explained)}")
    if explained.names:
        ways = ", ".join(_CARRIER[one] for one in explained.carriers)
        yield safe(f"  name    {' or '.join(explained.names)}, {ways}")
    for lease in explained.leases:
        yield safe(f"  lease   {_lease(lease, now)}")
    for entry in explained.kernel:
        yield safe(f"  kernel  {_entry(entry)}")
    if not explained.agrees:
        yield "  THE KERNEL DOES NOT HOLD WHAT THE POLICY ASKS FOR"


def explanation_document(asked: str, explained: Explanation) -> Document:
    """The same as JSON."""
    return {
        **verdict_document(asked, explained.verdict),
        "outcome": explained.outcome.value,
        "names": list(explained.names),
        "carriers": [one.value for one in explained.carriers],
        "leases": [_lease_document(one) for one in explained.leases],
        "kernel": [_entry_document(one) for one in explained.kernel],
        "agrees": explained.agrees,
        "summary": explained.summary,
    }


def _revision(explained: Explanation) -> str:
    return str(explained.verdict.policy_revision or "-")


def _lease(lease: LeasedName, now: datetime) -> str:
    ttl = (lease.expire_time - now).total_seconds()
    grace = (lease.end_time - max(lease.expire_time, now)).total_seconds()
    left = f"{ttl:.0f} s, and {grace:.0f} s of grace" if ttl > 0 else f"{grace:.0f} s of grace"
    live = "" if lease.live else ", NOT IN FORCE"
    open_ones = _connections(lease.connections)
    return f"{lease.address} for {lease.name}: {left} left; grant {lease.grant}{live}{open_ones}"


def _entry(entry: KernelEntry) -> str:
    shown = _KIND.get(entry.kind) or f"{entry.set} {{ {entry.element} }}"
    live = "" if not entry.grant else ", in force" if entry.live else ", NOT IN FORCE"
    agrees = "as it should be" if entry.agrees else f"BUT {entry.problem}"
    where = f"{entry.interface} to {entry.address}"
    return f"{where}: {shown}{live}; {agrees}{_connections(entry.connections)}"


def _connections(number: int | None) -> str:
    if number is None:
        return "; open connections not known"
    return f"; {number} open connection" + ("" if number == 1 else "s")


def _lease_document(lease: LeasedName) -> Json:
    return {
        "name": lease.name,
        "address": lease.address,
        "grant": lease.grant,
        "expire_time": time_document(lease.expire_time),
        "end_time": time_document(lease.end_time),
        "live": lease.live,
        "connections": lease.connections,
    }


def _entry_document(entry: KernelEntry) -> Json:
    return {
        "interface": entry.interface,
        "address": entry.address,
        "kind": entry.kind.value,
        "set": entry.set,
        "element": entry.element,
        "grant": entry.grant,
        "live": entry.live,
        "agrees": entry.agrees,
        "problem": entry.problem,
        "connections": entry.connections,
    }
