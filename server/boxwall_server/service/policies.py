"""Policies of boxes: replace, wait, judge, look back."""

from collections.abc import Mapping
from typing import Final

from boxwall.policy import (
    Destination,
    InvalidDestination,
    Policy,
    Violation,
    decide,
    lint,
    mode_of,
)
from boxwall.v1 import box_pb2, box_service_pb2
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall.wire.policies import (
    destination_from_proto,
    outline_from_bytes,
    policy_from_bytes,
    policy_to_bytes,
    verdict_to_proto,
)
from boxwall_server.changes.change import PolicyBytes
from boxwall_server.changes.revision import Revision
from boxwall_server.clock import Clock
from boxwall_server.service.boxes import Defaults, box_written
from boxwall_server.service.call import Call
from boxwall_server.service.decode import Problems
from boxwall_server.service.encode import box_to_proto, history_to_proto
from boxwall_server.service.pages import page_token, position_of, revision_of
from boxwall_server.service.registry import Handler
from boxwall_server.service.waits import Waits
from boxwall_server.store.base import Reader, Writer
from boxwall_server.store.mutations import SetPolicy

MAX_DESTINATIONS: Final = 1_000


class Policies:
    """The rpcs about what a box may reach, and since when."""

    def __init__(
        self, store: Reader, writer: Writer, waits: Waits, clock: Clock, defaults: Defaults
    ) -> None:
        self._store = store
        self._writer = writer
        self._waits = waits
        self._clock = clock
        self._defaults = defaults

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handlers by method name."""
        return {
            "update_network_policy": self.update_network_policy,
            "wait_enforced": self.wait_enforced,
            "check_egress": self.check_egress,
            "list_policy_revisions": self.list_policy_revisions,
        }

    async def update_network_policy(
        self, request: box_service_pb2.UpdateNetworkPolicyRequest, call: Call
    ) -> box_pb2.Box:
        """Replace the policy of a box, and wait for it if asked to."""
        problems = Problems()
        box_id = problems.required_id(request.box_id, "box_id")
        timeout = problems.wait(request, "wait_timeout")
        request_key = problems.request_key(request)
        parsed = problems.policy(request.network_policy, "network_policy", self._defaults.limits)
        problems.raise_if_any()
        assert parsed is not None
        mutation = SetPolicy(
            tenant=call.tenant,
            id=box_id,
            now=self._clock.now(),
            author=call.caller.name,
            policy=PolicyBytes(policy_to_bytes(parsed.policy)),
            mode=mode_of(parsed.policy).value,
            etag=request.etag,
            request=request_key,
            validate_only=request.validate_only,
        )
        written = box_written(await self._writer.apply(mutation))
        call.written()
        previous = written.previous_policy
        warnings = lint(parsed, None if previous is None else outline_from_bytes(previous))
        box = written.box
        enforcement = await self._waits.settled(
            box, box.policy_revision, written.nodes, timeout if written.revision else None
        )
        return box_to_proto(box, enforcement, warnings)

    async def wait_enforced(
        self, request: box_service_pb2.WaitEnforcedRequest, call: Call
    ) -> box_pb2.Box:
        """Wait until every hosting node has answered for a revision."""
        problems = Problems()
        box_id = problems.required_id(request.box_id, "box_id")
        timeout = problems.wait(request, "timeout")
        problems.raise_if_any()
        hosted = await self._store.box(call.tenant, box_id)
        current = hosted.box.policy_revision
        required = Revision(request.policy_revision) or current
        if required > current:
            raise ApiError(
                ErrorReason.INVALID_REQUEST,
                "the request is not valid",
                violations=(
                    Violation(
                        field="policy_revision",
                        message=f"{required} is not a revision of this box; it is at {current}",
                    ),
                ),
            )
        await self._waits.settled(hosted.box, required, hosted.nodes, timeout)
        hosted = await self._store.box(call.tenant, box_id)
        enforcement = await self._waits.settled(hosted.box, required, hosted.nodes, None)
        return box_to_proto(hosted.box, enforcement)

    async def check_egress(
        self, request: box_service_pb2.CheckEgressRequest, call: Call
    ) -> box_service_pb2.CheckEgressResponse:
        """Judge destinations by the pure `decide`."""
        problems = Problems()
        destinations = _destinations(problems, request)
        policy: Policy | None = None
        revision = Revision(0)
        match request.WhichOneof("subject"):
            case "network_policy":
                parsed = problems.policy(
                    request.network_policy, "network_policy", self._defaults.limits
                )
                policy = None if parsed is None else parsed.policy
            case "box_id":
                problems.required_id(request.box_id, "box_id")
            case _:
                problems.add("subject", "give a box_id or a network_policy")
        problems.raise_if_any()
        if policy is None:
            at_least = Revision(request.at_least_revision)
            box = (await self._store.box(call.tenant, request.box_id, at_least)).box
            policy, revision = policy_from_bytes(box.policy), box.policy_revision
        return box_service_pb2.CheckEgressResponse(
            verdicts=[
                verdict_to_proto(decide(policy, destination, revision=revision))
                for destination in destinations
            ]
        )

    async def list_policy_revisions(
        self, request: box_service_pb2.ListPolicyRevisionsRequest, call: Call
    ) -> box_service_pb2.ListPolicyRevisionsResponse:
        """Read who changed what, and when."""
        problems = Problems()
        box_id = problems.required_id(request.box_id, "box_id")
        size = problems.page_size(request.page_size)
        problems.raise_if_any()
        query = ("policy revisions", call.tenant, box_id)
        position = position_of(request.page_token, query)
        found = await self._store.history(
            call.tenant,
            box_id,
            before=revision_of(position),
            limit=size + 1,
        )
        page = found[:size]
        return box_service_pb2.ListPolicyRevisionsResponse(
            revisions=[history_to_proto(record) for record in page],
            next_page_token=(
                page_token(query, str(page[-1].revision)) if len(found) > size else ""
            ),
        )


def _destinations(
    problems: Problems, request: box_service_pb2.CheckEgressRequest
) -> list[Destination]:
    asked = request.destinations
    if not 1 <= len(asked) <= MAX_DESTINATIONS:
        problems.add("destinations", f"has {len(asked)} entries; give 1 to {MAX_DESTINATIONS}")
        return []
    found = []
    for index, message in enumerate(asked):
        try:
            found.append(destination_from_proto(message))
        except InvalidDestination as exc:
            for violation in exc.violations:
                problems.add(f"destinations[{index}].{violation.field}", violation.message)
    return found
