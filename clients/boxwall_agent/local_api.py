"""What programs on the node ask of the agent: `boxwall.agent.v1` on a unix socket."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import grpc
import structlog

from boxwall.agent.v1 import agent_service_pb2 as pb
from boxwall.agent.v1 import agent_service_pb2_grpc
from boxwall.policy import Violation, mode_of
from boxwall.wire.errors import ApiError, ErrorReason, status_of, trailing_metadata_of
from boxwall_agent.agent import Agent
from boxwall_agent.errors import AgentError, CannotAttach, KernelError, StateUnusable
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.links import Place, address_of, find

_LONGEST_WAIT: Final = 60.0
"""Seconds that Attach waits when the caller names no deadline."""

_MARGIN: Final = 0.2
"""Seconds before the caller's deadline, so that the answer says what is missing."""

_STATE: Final = {
    Standing.ENFORCED: pb.AttachedBox.STATE_ENFORCED,
    Standing.GONE: pb.AttachedBox.STATE_INTERFACE_GONE,
}

_log = structlog.get_logger()
T = TypeVar("T")


class Counts(Protocol):
    """Where the numbers of refused packets come from."""

    def refused(self, hosted: Hosted) -> int:
        """Packets of the box that were refused since the agent took the table over."""


class LocalApi(agent_service_pb2_grpc.AgentServiceServicer):
    """The service. `in_contact` says whether the control plane is."""

    def __init__(
        self, agent: Agent, counts: Counts, node_id: str, in_contact: Callable[[], bool]
    ) -> None:
        self._agent = agent
        self._counts = counts
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
            boxes=[self._to_proto(hosted) for hosted in self._agent.hosted],
            node_id=self._node_id,
            connected=self._in_contact(),
        )

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
        return self._to_proto(hosted)

    async def _detach(self, request: pb.DetachRequest) -> pb.DetachResponse:
        if not self._agent.detach(request.box_id):
            raise ApiError(
                ErrorReason.NOT_ATTACHED,
                f"box {request.box_id} is not attached to this node",
                resource=("box", request.box_id),
            )
        return pb.DetachResponse()

    def _to_proto(self, hosted: Hosted) -> pb.AttachedBox:
        return pb.AttachedBox(
            box_id=hosted.box_id,
            interface=", ".join(interface.name for interface in hosted.interfaces),
            addresses=[str(a) for interface in hosted.interfaces for a in interface.addresses],
            state=_STATE.get(hosted.standing, pb.AttachedBox.STATE_CLOSED),
            policy_revision=0 if hosted.policy is None else hosted.revision,
            mode="" if hosted.policy is None else mode_of(hosted.policy).value,
            message=hosted.message,
            packets_refused=self._counts.refused(hosted),
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
