"""Boxes: make, read, change, end."""

import base64
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from boxwall.policy import Limits, Mode, Parsed, lint, mode_of
from boxwall.v1 import box_pb2, box_service_pb2
from boxwall.wire.policies import policy_to_bytes
from boxwall_server.changes.change import PolicyBytes, Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.clock import Clock
from boxwall_server.enforcement import NOT_ATTACHED
from boxwall_server.service.call import Call
from boxwall_server.service.decode import MAX_TTL, MIN_TTL, Problems
from boxwall_server.service.encode import box_to_proto, enforcement_to_proto
from boxwall_server.service.pages import page_token, position_of
from boxwall_server.service.registry import Handler
from boxwall_server.service.standings import Standings
from boxwall_server.service.waits import Waits
from boxwall_server.store.base import Reader, Writer
from boxwall_server.store.mutations import (
    BoxWritten,
    CreateBox,
    DeleteBox,
    Expiry,
    Outcome,
    UpdateBox,
)

_OUTPUT_ONLY: Final = (
    "id",
    "uid",
    "policy_revision",
    "enforcement",
    "create_time",
    "update_time",
    "etag",
    "warnings",
)
_MESSAGES: Final = ("enforcement", "create_time", "update_time")
_WRITABLE: Final = ("name", "labels", "runtime", "node_id", "expire_time", "ttl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What an operator has set for policies."""

    policy: PolicyBytes
    """Of a box that is made without any."""
    mode: Mode
    limits: Limits
    max_labels: int
    """Of a box."""
    max_boxes: int | None
    """Of a tenant. None: any number."""
    only_placed: bool
    """Whether only the node that a box is placed on may host it."""


class Boxes:
    """The rpcs that write and read boxes themselves."""

    def __init__(
        self,
        store: Reader,
        writer: Writer,
        standings: Standings,
        waits: Waits,
        clock: Clock,
        defaults: Defaults,
    ) -> None:
        self._store = store
        self._writer = writer
        self._standings = standings
        self._waits = waits
        self._clock = clock
        self._defaults = defaults

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {
            "create_box": self.create_box,
            "get_box": self.get_box,
            "list_boxes": self.list_boxes,
            "update_box": self.update_box,
            "delete_box": self.delete_box,
        }

    async def create_box(
        self, request: box_service_pb2.CreateBoxRequest, call: Call
    ) -> box_pb2.Box:
        """Make a box."""
        now = self._clock.now()
        mutation, parsed = self._create_box(request, call, now)
        written = box_written(await self._writer.apply(mutation))
        warnings = () if parsed is None else lint(parsed)
        box = written.box
        enforcement = (
            await self._standings.judge(box, box.policy_revision, written.nodes)
            if written.revision
            else NOT_ATTACHED
        )
        return box_to_proto(box, enforcement, warnings)

    def _create_box(
        self, request: box_service_pb2.CreateBoxRequest, call: Call, now: Timestamp
    ) -> tuple[CreateBox, Parsed | None]:
        problems = Problems()
        box = request.box
        for field in _OUTPUT_ONLY:
            if _is_set(box, field):
                problems.add(f"box.{field}", _output_only(field))
        parsed = (
            problems.policy(box.network_policy, "box.network_policy", self._defaults.limits)
            if box.HasField("network_policy")
            else None
        )
        policy, mode = self._policy_of(parsed, inherits=bool(box.source_snapshot))
        mutation = CreateBox(
            tenant=call.tenant,
            id=problems.optional_id(request.box_id, "box_id") or new_id("box"),
            uid=str(uuid.uuid4()),
            now=now,
            author=call.caller.name,
            name=problems.text(box.name, "box.name"),
            node_id=problems.node_id(box.node_id, "box.node_id", required=False),
            labels=problems.labels(box.labels, "box.labels", self._defaults.max_labels),
            runtime=problems.text(box.runtime, "box.runtime"),
            source_snapshot=problems.optional_id(box.source_snapshot, "box.source_snapshot"),
            expire_time=_expire_time(problems, box, now),
            only_placed=self._defaults.only_placed,
            max_boxes=self._defaults.max_boxes,
            request=problems.request_key(request),
            validate_only=request.validate_only,
            policy=policy,
            mode=mode,
        )
        problems.raise_if_any()
        return mutation, parsed

    async def get_box(self, request: box_service_pb2.GetBoxRequest, call: Call) -> box_pb2.Box:
        """Read one box."""
        problems = Problems()
        box_id = problems.required_id(request.box_id, "box_id")
        problems.raise_if_any()
        hosted = await self._store.box(call.tenant, box_id, Revision(request.at_least_revision))
        box = hosted.box
        return box_to_proto(
            box, await self._standings.judge(box, box.policy_revision, hosted.nodes)
        )

    async def list_boxes(
        self, request: box_service_pb2.ListBoxesRequest, call: Call
    ) -> box_service_pb2.ListBoxesResponse:
        """Read a page of boxes."""
        problems = Problems()
        size = problems.page_size(request.page_size)
        where = problems.box_filter(request.filter, "filter")
        problems.raise_if_any()
        query = ("boxes", call.tenant, where)
        found = await self._store.boxes(
            call.tenant,
            where,
            after=position_of(request.page_token, query),
            limit=size + 1,
            at_least=Revision(request.at_least_revision),
        )
        page = found[:size]
        return box_service_pb2.ListBoxesResponse(
            boxes=[
                box_to_proto(hosted.box, enforcement)
                for hosted, enforcement in zip(
                    page, await self._standings.judge_all(page), strict=True
                )
            ],
            next_page_token=page_token(query, page[-1].box.id) if len(found) > size else "",
        )

    async def update_box(
        self, request: box_service_pb2.UpdateBoxRequest, call: Call
    ) -> box_pb2.Box:
        """Change what is not policy."""
        now = self._clock.now()
        problems = Problems()
        box, mask = request.box, set(request.update_mask.paths)
        _check_mask(problems, mask, box.WhichOneof("expiration"))
        expiry = (
            Expiry(at=_expire_time(problems, box, now)) if mask & {"expire_time", "ttl"} else None
        )
        mutation = UpdateBox(
            tenant=call.tenant,
            id=problems.required_id(box.id, "box.id"),
            now=now,
            etag=request.etag,
            name=problems.text(box.name, "box.name") if "name" in mask else None,
            runtime=problems.text(box.runtime, "box.runtime") if "runtime" in mask else None,
            labels=(
                problems.labels(box.labels, "box.labels", self._defaults.max_labels)
                if "labels" in mask
                else None
            ),
            node_id=(
                problems.node_id(box.node_id, "box.node_id", required=False)
                if "node_id" in mask
                else None
            ),
            expiry=expiry,
        )
        problems.raise_if_any()
        written = box_written(await self._writer.apply(mutation))
        stored = written.box
        return box_to_proto(
            stored,
            await self._standings.judge(stored, stored.policy_revision, written.nodes),
        )

    async def delete_box(
        self, request: box_service_pb2.DeleteBoxRequest, call: Call
    ) -> box_service_pb2.DeleteBoxResponse:
        """End a box."""
        problems = Problems()
        box_id = problems.required_id(request.box_id, "box_id")
        timeout = problems.wait(request, "wait_timeout")
        problems.raise_if_any()
        mutation = DeleteBox(
            tenant=call.tenant, id=box_id, now=self._clock.now(), etag=request.etag
        )
        written = box_written(await self._writer.apply(mutation))
        call.written()
        enforcement = await self._waits.settled(
            written.box, written.revision, written.nodes, timeout
        )
        return box_service_pb2.DeleteBoxResponse(
            revision=written.revision, enforcement=enforcement_to_proto(enforcement)
        )

    def _policy_of(
        self, parsed: Parsed | None, *, inherits: bool
    ) -> tuple[PolicyBytes | None, str]:
        """Return policy and mode of a new box; no policy leaves it to the snapshot."""
        if parsed is not None:
            return PolicyBytes(policy_to_bytes(parsed.policy)), mode_of(parsed.policy).value
        if inherits:
            return None, ""
        return self._defaults.policy, self._defaults.mode.value


def box_written(outcome: Outcome) -> BoxWritten:
    """Return the outcome of a box write as what it must be."""
    assert isinstance(outcome, BoxWritten), outcome
    return outcome


def new_id(kind: str) -> str:
    """Return an id that nobody can guess: "box-" and 20 of a-z and 2-7."""
    return f"{kind}-{base64.b32encode(secrets.token_bytes(13)).decode().lower()[:20]}"


def _is_set(box: box_pb2.Box, field: str) -> bool:
    return box.HasField(field) if field in _MESSAGES else bool(getattr(box, field))


def _output_only(field: str) -> str:
    if field == "id":
        return "is set by the server; give the id you want as box_id"
    return "is set by the server; leave it out"


def _check_mask(problems: Problems, mask: set[str], given: str | None) -> None:
    if not mask:
        problems.add("update_mask", f"name at least one of {', '.join(_WRITABLE)}")
    for path in sorted(mask - set(_WRITABLE)):
        fix = (
            "is changed with UpdateNetworkPolicy"
            if path == "network_policy"
            else f"cannot be changed; the mask can name {', '.join(_WRITABLE)}"
        )
        problems.add("update_mask", f"{path} {fix}")
    if {"expire_time", "ttl"} <= mask:
        problems.add("update_mask", "expire_time and ttl are two ways to say one thing; name one")
    elif "ttl" in mask and given == "expire_time":
        problems.add("update_mask", "names ttl, and the box has an expire_time; name expire_time")
    elif "expire_time" in mask and given == "ttl":
        problems.add("update_mask", "names expire_time, and the box has a ttl; name ttl")


def _expire_time(problems: Problems, box: box_pb2.Box, now: Timestamp) -> Timestamp | None:
    """Return when the box ends. None: never."""
    match box.WhichOneof("expiration"):
        case "ttl":
            return Timestamp(now + round(problems.ttl(box.ttl, "box.ttl") * 1_000_000))
        case "expire_time":
            at = box.expire_time.seconds * 1_000_000 + box.expire_time.nanos // 1000
            if not MIN_TTL <= (at - now) / 1e6 <= MAX_TTL:
                problems.add("box.expire_time", "must be from 1 s to 3 days from now")
            return Timestamp(at)
        case _:
            return None
