"""Values as tables and lines for people."""

import json
from collections.abc import Iterable, Mapping, Sequence

from boxwall.cli.render.text import Cell, Table, Tone, safe, table, time_text
from boxwall.policy import Verdict
from boxwall.sdk.network_policy import NetworkPolicy
from boxwall.sdk.values import (
    BoxState,
    EnforcementState,
    Node,
    NodeState,
    PolicyRevision,
    Refusal,
    SnapshotState,
)

_TONE_OF_ENFORCEMENT = {
    EnforcementState.ENFORCED: Tone.GOOD,
    EnforcementState.PENDING: Tone.WAITING,
    EnforcementState.STALE: Tone.WAITING,
    EnforcementState.FAILED: Tone.BAD,
}
_TONE_OF_NODE = {
    NodeState.CONNECTED: Tone.GOOD,
    NodeState.DISCONNECTED: Tone.WAITING,
    NodeState.FENCED: Tone.BAD,
}


def boxes_table(boxes: Iterable[BoxState]) -> Table:
    """One line for each box."""
    return table(
        ("ID", "NAME", "MODE", "ENFORCEMENT", "NODES", "EXPIRES", "LABELS"),
        (
            (
                box.id,
                box.name or "-",
                box.network_policy.mode.value,
                _enforcement(box.enforcement.state),
                ",".join(node.node_id for node in box.enforcement.nodes) or box.node_id or "-",
                time_text(box.expire_time),
                _labels(box.labels),
            )
            for box in boxes
        ),
        if_empty="no boxes; make one with: boxwall box create",
    )


def box_table(box: BoxState) -> Table:
    """Everything about one box, a line for each property that it has."""
    rows: list[tuple[str, str | Cell]] = [
        ("id", box.id),
        ("uid", box.uid),
        ("name", box.name),
        ("labels", _labels(box.labels) if box.labels else ""),
        ("runtime", box.runtime),
        ("placed on", box.node_id),
        ("policy", policy_summary(box.network_policy)),
        ("revision", str(box.policy_revision)),
        ("enforcement", _enforcement(box.enforcement.state)),
        *(
            ("", Cell(str(node), _TONE_OF_ENFORCEMENT.get(node.state, Tone.PLAIN)))
            for node in box.enforcement.nodes
        ),
        ("from snapshot", box.source_snapshot),
        ("created", time_text(box.create_time)),
        ("updated", time_text(box.update_time)),
        ("expires", "" if box.expire_time is None else time_text(box.expire_time)),
        ("etag", box.etag),
    ]
    given = [row for row in rows if row[1] and row[1] != "-"]
    return table(("PROPERTY", "VALUE"), given, if_empty="")


def policy_summary(policy: NetworkPolicy) -> str:
    """One line: "custom: 2 domains and 1 network allowed, 0 networks denied; unlisted deny"."""
    if policy.unlisted is None:
        return policy.mode.value
    return (
        f"custom: {_count(policy.allowed_domains, 'domain')} and "
        f"{_count(policy.allowed_cidrs, 'network')} allowed, "
        f"{_count(policy.denied_cidrs, 'network')} denied; unlisted {policy.unlisted.value}"
    )


def policy_yaml(policy: NetworkPolicy) -> list[str]:
    """The document that `policy set` reads, as YAML. Entries are quoted: "*" begins an alias."""
    lines = []
    for key, value in policy.to_dict().items():
        if isinstance(value, str):
            lines.append(f"{key}: {value}")
        elif not value:
            lines.append(f"{key}: []")
        else:
            lines.append(f"{key}:")
            lines += [f"  - {json.dumps(entry)}" for entry in value]
    return lines


def verdicts_table(verdicts: Iterable[tuple[str, Verdict]]) -> Table:
    """What was asked, as it was written, and the judgement."""
    return table(
        ("DESTINATION", "VERDICT", "REASON", "RULE", "EXPLANATION"),
        (
            (
                asked,
                Cell("allow", Tone.GOOD) if verdict.allowed else Cell("deny", Tone.BAD),
                verdict.reason.value,
                "-" if verdict.rule is None else str(verdict.rule),
                verdict.explanation,
            )
            for asked, verdict in verdicts
        ),
        if_empty="nothing was asked",
    )


def history_table(revisions: Iterable[PolicyRevision]) -> Table:
    """The policies a box has had."""
    return table(
        ("REVISION", "TIME", "AUTHOR", "POLICY"),
        (
            (
                str(revision.revision),
                time_text(revision.create_time),
                revision.author or "-",
                policy_summary(revision.network_policy),
            )
            for revision in revisions
        ),
        if_empty="no policies are remembered",
    )


def snapshots_table(snapshots: Iterable[SnapshotState]) -> Table:
    """One line for each snapshot."""
    return table(
        ("ID", "BOX", "CREATED", "POLICY"),
        (
            (
                snapshot.id,
                snapshot.box_id,
                time_text(snapshot.create_time),
                policy_summary(snapshot.network_policy),
            )
            for snapshot in snapshots
        ),
        if_empty="no snapshots; make one with: boxwall snapshot create BOX",
    )


def nodes_table(nodes: Iterable[Node]) -> Table:
    """One line for each node."""
    return table(
        ("ID", "STATE", "BOXES", "APPLIED", "LAG", "REJECTED", "AGENT", "LAST CONTACT", "REASON"),
        (
            (
                node.id,
                Cell(node.state.value, _TONE_OF_NODE.get(node.state, Tone.PLAIN)),
                str(node.attached_boxes),
                str(node.applied_revision),
                str(node.lag),
                Cell(str(node.rejections), Tone.BAD if node.rejections else Tone.PLAIN),
                node.agent_version or "-",
                time_text(node.last_contact_time),
                node.fence_reason or "-",
            )
            for node in nodes
        ),
        if_empty="no node has connected yet",
    )


def refusals_table(refusals: Iterable[Refusal]) -> Table:
    """One line for each refusal."""
    return table(
        ("LAST", "BOX", "DESTINATION", "REASON", "RULE", "COUNT"),
        (
            (
                time_text(refusal.last_time),
                refusal.box_id,
                refusal_destination(refusal),
                "unknown" if refusal.reason is None else refusal.reason.value,
                "-" if refusal.rule is None else str(refusal.rule),
                str(refusal.count),
            )
            for refusal in refusals
        ),
        if_empty="nothing was refused lately",
    )


def refusal_line(refusal: Refusal) -> str:
    """One refusal of a stream, as one safe line."""
    dropped = f" ({refusal.dropped_before} dropped before)" if refusal.dropped_before else ""
    reason = "unknown" if refusal.reason is None else refusal.reason.value
    return safe(
        f"{time_text(refusal.last_time)}  {refusal.box_id}  {refusal_destination(refusal)}  "
        f"{reason}  x{refusal.count}{dropped}"
    )


def refusal_destination(refusal: Refusal) -> str:
    """What the box tried: "a.test (192.0.2.1):443/tcp"."""
    address = refusal.address
    if refusal.domain:
        host = f"{refusal.domain} ({address})" if address else refusal.domain
    else:
        host = f"[{address}]" if ":" in address and refusal.port else address
    port = f":{refusal.port}" if refusal.port else ""
    return f"{host}{port}/{refusal.protocol}" if refusal.protocol else f"{host}{port}"


def box_changed_line(box: BoxState) -> str:
    """One change of a watch, as one safe line."""
    name = f"  {box.name}" if box.name else ""
    policy = policy_summary(box.network_policy)
    return safe(
        f"{time_text(box.update_time)}  changed  {box.id}  revision {box.policy_revision}  "
        f"{policy}{name}"
    )


def box_gone_line(box_id: str) -> str:
    """The end of a box in a watch, as one safe line."""
    return safe(f"{'-':20}  gone     {box_id}")


def _enforcement(state: EnforcementState) -> Cell:
    return Cell(state.value, _TONE_OF_ENFORCEMENT.get(state, Tone.PLAIN))


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "-"


def _count(entries: Sequence[str], what: str) -> str:
    return f"{len(entries)} {what}" if len(entries) == 1 else f"{len(entries)} {what}s"
