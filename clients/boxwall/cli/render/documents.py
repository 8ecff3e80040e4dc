"""Values as JSON documents: keys are stable, in snake_case and all present; what is absent is null.

Times are RFC 3339 in UTC, policies the documents that `policy set` reads.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias, Union

from boxwall.policy import PolicyWarning, Rule, Verdict, Violation
from boxwall.sdk.values import (
    BoxState,
    Enforcement,
    Node,
    NodeEnforcement,
    PolicyRevision,
    Refusal,
    SnapshotState,
)

Json: TypeAlias = Union[  # noqa: UP007  # recursive: `|` cannot name it before it exists
    bool, int, float, str, Sequence["Json"], Mapping[str, "Json"], None
]
Document: TypeAlias = dict[str, Json]


def json_text(document: Mapping[str, Json], *, on_one_line: bool = False) -> str:
    """Return JSON in ASCII, so that nothing in it can act on a terminal."""
    return json.dumps(document, indent=None if on_one_line else 2)


def box_document(box: BoxState) -> Document:
    """Return a box."""
    return {
        "id": box.id,
        "uid": box.uid,
        "name": box.name,
        "node_id": box.node_id,
        "labels": dict(sorted(box.labels.items())),
        "runtime": box.runtime,
        "network_policy": box.network_policy.to_dict(),
        "policy_revision": box.policy_revision,
        "enforcement": enforcement_document(box.enforcement),
        "expire_time": time_document(box.expire_time),
        "source_snapshot": box.source_snapshot,
        "create_time": time_document(box.create_time),
        "update_time": time_document(box.update_time),
        "etag": box.etag,
        "warnings": warning_documents(box.warnings),
    }


def enforcement_document(enforcement: Enforcement) -> Document:
    """Return how far a policy has come."""
    return {
        "state": enforcement.state.value,
        "applied_revision": enforcement.applied_revision,
        "nodes": [_node_enforcement(node) for node in enforcement.nodes],
    }


def verdict_document(asked: str, verdict: Verdict) -> Document:
    """Return a judgement, with what was asked as it was written."""
    return {
        "destination": asked,
        "allowed": verdict.allowed,
        "reason": verdict.reason.value,
        "rule": _rule(verdict.rule),
        "explanation": verdict.explanation,
        "policy_revision": verdict.policy_revision,
    }


def warning_documents(warnings: Iterable[PolicyWarning]) -> list[Json]:
    """Return warnings."""
    return [
        {"code": warning.code.value, "field": warning.field, "message": warning.message}
        for warning in warnings
    ]


def violation_documents(violations: Iterable[Violation]) -> list[Json]:
    """Return violations."""
    return [
        {"field": found.field, "message": found.message, "suggestion": found.suggestion}
        for found in violations
    ]


def snapshot_document(snapshot: SnapshotState) -> Document:
    """Return a snapshot."""
    return {
        "id": snapshot.id,
        "box_id": snapshot.box_id,
        "network_policy": snapshot.network_policy.to_dict(),
        "create_time": time_document(snapshot.create_time),
    }


def policy_revision_document(revision: PolicyRevision) -> Document:
    """Return one policy of a box's past."""
    return {
        "revision": revision.revision,
        "network_policy": revision.network_policy.to_dict(),
        "create_time": time_document(revision.create_time),
        "author": revision.author,
        "request_id": revision.request_id,
    }


def refusal_document(refusal: Refusal) -> Document:
    """Return what a node refused."""
    return {
        "box_id": refusal.box_id,
        "domain": refusal.domain,
        "address": refusal.address,
        "port": refusal.port,
        "protocol": refusal.protocol,
        "reason": None if refusal.reason is None else refusal.reason.value,
        "rule": _rule(refusal.rule),
        "policy_revision": refusal.policy_revision,
        "first_time": time_document(refusal.first_time),
        "last_time": time_document(refusal.last_time),
        "count": refusal.count,
        "dropped_before": refusal.dropped_before,
    }


def node_document(node: Node) -> Document:
    """Return a node."""
    return {
        "id": node.id,
        "state": node.state.value,
        "connect_time": time_document(node.connect_time),
        "last_contact_time": time_document(node.last_contact_time),
        "agent_version": node.agent_version,
        "attached_boxes": node.attached_boxes,
        "applied_revision": node.applied_revision,
        "lag": node.lag,
        "rejections": node.rejections,
        "fence_reason": node.fence_reason,
    }


def _node_enforcement(node: NodeEnforcement) -> Document:
    return {
        "node_id": node.node_id,
        "state": node.state.value,
        "applied_revision": node.applied_revision,
        "apply_time": time_document(node.apply_time),
        "message": node.message,
        "connections_kept": node.connections_kept,
        "connections_cut": node.connections_cut,
    }


def _rule(rule: Rule | None) -> Json:
    return None if rule is None else {"list": rule.list.value, "text": rule.text}


def time_document(time: datetime | None) -> str | None:
    """Return an instant."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")
