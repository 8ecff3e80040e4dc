"""Answers to requests as JSON text, so that a repeated request id gets the first one again."""

import base64
import json
from dataclasses import asdict
from typing import Any

from boxwall_server.changes.change import BoxRecord, PolicyBytes
from boxwall_server.store.mutations import BoxWritten, SnapshotWritten
from boxwall_server.store.records import SnapshotRecord


def answer_to_text(answer: BoxWritten | SnapshotWritten) -> str:
    """Return the text that `answer_from_text` reads. Which nodes host the box is not in it."""
    match answer:
        case BoxWritten():
            previous = answer.previous_policy
            body: dict[str, Any] = {
                "box": _with_text_policy(asdict(answer.box)),
                "previous_policy": None if previous is None else _to_text(previous),
                "revision": answer.revision,
            }
        case SnapshotWritten():
            body = {"snapshot": _with_text_policy(asdict(answer.snapshot))}
    return json.dumps(body, separators=(",", ":"))


def answer_from_text(text: str) -> BoxWritten | SnapshotWritten:
    """Return a stored answer."""
    body = json.loads(text)
    if "snapshot" in body:
        return SnapshotWritten(snapshot=SnapshotRecord(**_with_bytes_policy(body["snapshot"])))
    box = _with_bytes_policy(body["box"])
    box["labels"] = tuple((key, value) for key, value in box["labels"])
    previous = body["previous_policy"]
    return BoxWritten(
        box=BoxRecord(**box),
        previous_policy=None if previous is None else _to_bytes(previous),
        nodes=(),
        revision=body["revision"],
    )


def _with_text_policy(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"policy": _to_text(fields["policy"])}


def _with_bytes_policy(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"policy": _to_bytes(fields["policy"])}


def _to_text(policy: bytes) -> str:
    return base64.b64encode(policy).decode("ascii")


def _to_bytes(text: str) -> PolicyBytes:
    return PolicyBytes(base64.b64decode(text))
