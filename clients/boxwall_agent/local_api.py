"""What programs on the node ask of the agent: `boxwall.agent.v1` on a unix socket."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

import grpc
import structlog

from boxwall.agent.v1 import agent_service_pb2 as pb
from boxwall.agent.v1 import agent_service_pb2_grpc
from boxwall.policy import Destination, InvalidDestination, Violation, mode_of
from boxwall.wire.errors import ApiError, ErrorReason, status_of, trailing_metadata_of
from boxwall.wire.policies import destination_from_proto, destination_to_proto, verdict_to_proto
from boxwall_agent.agent import Agent
from boxwall_agent.errors import AgentError, CannotAttach, KernelError, StateUnusable
from boxwall_agent.explainer import Carried, Explainer
from boxwall_agent.explaining import Compared, Explanation
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.leases import Lease
from boxwall_agent.links import Place, address_of, find

_LONGEST_WAIT: Final = 60.0
"""Seconds that Attach waits when the caller names no deadline."""

_MARGIN: Final = 0.2
"""Seconds before the caller's deadline, so that the answer says what is missing."""

_MOST_DESTINATIONS: Final = 32

_STATE: Final = {
    Standing.ENFORCED: pb.AttachedBox.STATE_ENFORCED,
    Standing.GONE: pb.AttachedBox.STATE_INTERFACE_GONE,
}

_log = structlog.get_logger()
T = TypeVar("T")


class Counts(Protocol):
    """Where the numbers of refused packets come from."""

    def refused(self, boxes: Sequence[Hosted]) -> Mapping[str, int]:
        """Packets of each box that were refused since the table was made. Blocks."""


class LocalApi(agent_service_pb2_grpc.AgentServiceServicer):
    """The service. `in_contact` says whether the control plane is; `grace` is how many seconds a
    lease outlives its DNS answer.
    """

    def __init__(
        self,
        agent: Agent,
        counts: Counts,
        explainer: Explainer,
        node_id: str,
        in_contact: Callable[[], bool],
        *,
        grace: float,
    ) -> None:
        self._agent = agent
        self._counts = counts
        self._explainer = explainer
        self._grace = grace
        self._node_id = node_id
        self._in_contact = in_contact

    async def Attach(self, request: pb.AttachRequest, context: Any) -> pb.AttachedBox:
        """See the contract."""
        return await _answered(context, self._attach(request, context))

    async def Detach(self, request: pb.DetachRequest, context: Any) -> pb.DetachResponse:
        """See the contract."""
        return await _answered(context, self._detach(request))

    async def ListAttached(
        self, request: pb.ListAttachedRequest, context: Any
    ) -> pb.ListAttachedResponse:
        """See the contract."""
        return pb.ListAttachedResponse(
            boxes=await self._to_protos(self._agent.hosted),
            node_id=self._node_id,
            connected=self._in_contact(),
        )

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """See the contract."""
        return await _answered(context, self._explain(request))

    async def _attach(self, request: pb.AttachRequest, context: Any) -> pb.AttachedBox:
        place = _place(request)
        interfaces = await asyncio.to_thread(find, place)
        left = context.time_remaining()
        wait = _LONGEST_WAIT if left is None else min(left, _LONGEST_WAIT) - _MARGIN
        try:
            async with asyncio.timeout(max(wait, 0.0)):
                hosted = await self._agent.attach(request.box_id, interfaces)
        except TimeoutError:
            raise ApiError(
                ErrorReason.NO_CONTACT,
                f"box {request.box_id} is attached and closed: no policy has come in time"
                + ("" if self._in_contact() else "; the control plane is out of contact"),
            ) from None
        _raise_unless_enforced(hosted)
        (answer,) = await self._to_protos([hosted])
        return answer

    async def _detach(self, request: pb.DetachRequest) -> pb.DetachResponse:
        if not self._agent.detach(request.box_id):
            raise _not_attached(request.box_id)
        return pb.DetachResponse()

    async def _explain(self, request: pb.ExplainRequest) -> pb.ExplainResponse:
        asked = _asked(request)
        carried = await self._explainer.carried(self._hosted(request.box_id))
        explanations = []
        for one in asked:
            explained = self._explainer.explain(self._hosted(request.box_id), one)
            explanations.append(_explanation(explained, carried, self._grace))
            await asyncio.sleep(0)  # boxes' packets wait while the kernel is asked
        (box,) = await self._to_protos([self._hosted(request.box_id)])
        return pb.ExplainResponse(box=box, explanations=explanations)

    def _hosted(self, box_id: str) -> Hosted:
        hosted = self._agent.find(box_id)
        if hosted is None:
            raise _not_attached(box_id)
        return hosted

    async def _to_protos(self, boxes: Sequence[Hosted]) -> list[pb.AttachedBox]:
        """The kernel is asked once for all: on a thread, because it takes longer with every box."""
        refused = await asyncio.to_thread(self._counts.refused, boxes)
        return [_to_proto(hosted, refused[hosted.box_id]) for hosted in boxes]


def _to_proto(hosted: Hosted, packets_refused: int) -> pb.AttachedBox:
    return pb.AttachedBox(
        box_id=hosted.box_id,
        interface=", ".join(interface.name for interface in hosted.interfaces),
        addresses=[str(a) for interface in hosted.interfaces for a in interface.addresses],
        state=_STATE.get(hosted.standing, pb.AttachedBox.STATE_CLOSED),
        policy_revision=0 if hosted.policy is None else hosted.revision,
        mode="" if hosted.policy is None else mode_of(hosted.policy).value,
        message=hosted.message,
        packets_refused=packets_refused,
    )


def make_server(api: LocalApi) -> grpc.aio.Server:
    """Return a server with the service; it listens nowhere yet."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(api, server)
    return server


def _place(request: pb.AttachRequest) -> Place:
    violations = []
    if not request.box_id:
        violations.append(Violation(field="box_id", message="is empty; name the box"))
    if request.WhichOneof("place") is None:
        message = "is not set; name an interface or a network namespace"
        violations.append(Violation(field="place", message=message))
    addresses = []
    for number, text in enumerate(request.addresses):
        try:
            addresses.append(address_of(text))
        except CannotAttach as exc:
            violations.append(Violation(field=f"addresses[{number}]", message=str(exc)))
    if violations:
        raise ApiError(
            ErrorReason.INVALID_REQUEST, "the request is not valid", violations=tuple(violations)
        )
    return Place(
        interface=request.interface,
        netns=request.netns,
        addresses=tuple(addresses),
        masquerade=request.masquerade,
    )


def _asked(request: pb.ExplainRequest) -> list[Destination]:
    violations = []
    if not request.box_id:
        violations.append(Violation(field="box_id", message="is empty; name the box"))
    if not 1 <= len(request.destinations) <= _MOST_DESTINATIONS:
        message = f"has {len(request.destinations)} entries; give 1 to {_MOST_DESTINATIONS}"
        violations.append(Violation(field="destinations", message=message))
    asked = []
    for number, destination in enumerate(request.destinations[:_MOST_DESTINATIONS]):
        try:
            asked.append(destination_from_proto(destination))
        except InvalidDestination as exc:
            violations += (
                replace(one, field=f"destinations[{number}].{one.field}") for one in exc.violations
            )
    if violations:
        raise ApiError(
            ErrorReason.INVALID_REQUEST, "the request is not valid", violations=tuple(violations)
        )
    return asked


def _explanation(explained: Explanation, carried: Carried | None, grace: float) -> pb.Explanation:
    return pb.Explanation(
        destination=destination_to_proto(explained.asked),
        outcome=f"OUTCOME_{explained.outcome.name}",
        verdict=verdict_to_proto(explained.verdict),
        names=map(str, explained.names),
        carriers=[f"CARRIER_{one.name}" for one in explained.carriers],
        leases=[
            _lease(one, carried, grace, is_live=one.grant in explained.live)
            for one in explained.leases
        ],
        kernel=[_entry(one, carried) for one in explained.kernel],
        agrees=explained.agrees,
        summary=explained.summary,
    )


def _lease(lease: Lease, carried: Carried | None, grace: float, *, is_live: bool) -> pb.LeasedName:
    message = pb.LeasedName(
        name=str(lease.name), address=str(lease.address), grant=lease.grant, live=is_live
    )
    end = time.time() + lease.end - time.monotonic()
    message.expire_time.FromMilliseconds(round((end - grace) * 1000))
    message.end_time.FromMilliseconds(round(end * 1000))
    if carried is not None:
        message.connections = carried.by_grant[lease.grant]
    return message


def _entry(compared: Compared, carried: Carried | None) -> pb.KernelEntry:
    held = compared.held
    message = pb.KernelEntry(
        interface=held.interface,
        address=str(held.address),
        kind=f"KIND_{held.kind.name}",
        set=held.set,
        element=held.element,
        grant=held.grant,
        live=held.is_live,
        agrees=not compared.problem,
        problem=compared.problem,
    )
    if carried is not None:
        message.connections = carried.to_address[held.address]
    return message


def _not_attached(box_id: str) -> ApiError:
    message = f"box {box_id} is not attached to this node"
    return ApiError(ErrorReason.NOT_ATTACHED, message, resource=("box", box_id))


def _raise_unless_enforced(hosted: Hosted) -> None:
    if hosted.standing is Standing.ENFORCED:
        return
    message = f"box {hosted.box_id} is attached and closed: {hosted.message}"
    if hosted.standing is Standing.UNKNOWN:
        raise ApiError(ErrorReason.BOX_NOT_FOUND, message, resource=("box", hosted.box_id))
    raise ApiError(ErrorReason.NOT_IN_FORCE, message)


async def _answered(context: Any, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does, or end the call with the error that it raises."""
    try:
        return await work
    except (ApiError, AgentError) as exc:
        error = _api_error(exc)
    await context.abort(error.status, status_of(error).message, trailing_metadata_of(error))
    raise AssertionError("abort raises")


def _api_error(exc: ApiError | AgentError) -> ApiError:
    match exc:
        case ApiError():
            return exc
        case CannotAttach():
            return ApiError(ErrorReason.CANNOT_ATTACH, str(exc))
        case KernelError() | StateUnusable():
            return ApiError(ErrorReason.NOT_IN_FORCE, str(exc))
        case _:
            error_id = secrets.token_hex(8)
            _log.error("internal_error", error_id=error_id, exc_info=exc)
            return ApiError(
                ErrorReason.INTERNAL,
                f"internal error {error_id}; the agent's log says more",
                facts={"error_id": error_id},
            )
