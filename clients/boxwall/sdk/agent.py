"""The agent of this node, for programs that start boxes on it: `AgentClient`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc

from boxwall.agent.v1 import agent_service_pb2 as pb
from boxwall.agent.v1 import agent_service_pb2_grpc
from boxwall.policy import Destination
from boxwall.sdk.decode import time_from_proto, verdict_from_proto
from boxwall.sdk.errors import BadConfig, NoAgent, Unavailable
from boxwall.sdk.explanation import (
    Carrier,
    EntryKind,
    Explanation,
    KernelEntry,
    LeasedName,
    Outcome,
)
from boxwall.sdk.translate import error_of
from boxwall.unix_sockets import path_problem
from boxwall.wire.policies import destination_to_proto

DEFAULT_AGENT_SOCKET: Final = Path("/run/boxwall/agent.sock")


class AttachedState(Enum):
    """What a node does for a box."""

    ENFORCED = "enforced"
    """Its policy is in force."""
    CLOSED = "closed"
    """Nothing passes; `AttachedBox.message` says why."""
    INTERFACE_GONE = "interface-gone"
    """Its interface is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedBox:
    """A box as a node has it."""

    box_id: str
    interface: str
    addresses: tuple[str, ...]
    state: AttachedState
    policy_revision: int
    """Of the policy in force; 0 while closed."""
    mode: str
    message: str
    packets_refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """A node's agent, and what is attached to it."""

    node_id: str
    connected: bool
    """Whether the control plane is in contact."""
    boxes: tuple[AttachedBox, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedBox:
    """A box as it was when it was asked about, and the answers, in order."""

    box: AttachedBox
    explanations: tuple[Explanation, ...]


class AgentClient:
    """Calls the agent over its unix socket. Use it in an `async with`, or close it.

    All calls raise a BoxwallError: NoAgent if none answers, CannotAttach, BoxNotFound, NotAttached.
    """

    def __init__(self, path: Path = DEFAULT_AGENT_SOCKET, *, timeout: float = 30.0) -> None:
        """`timeout`: seconds for each call. Raises BadConfig for a path that no socket can have."""
        problem = path_problem(path)
        if problem is not None:
            raise BadConfig(problem)
        self._path = path
        self._timeout = timeout
        self._channel = grpc.aio.insecure_channel(f"unix:{path}")
        self._stub: Any = agent_service_pb2_grpc.AgentServiceStub(self._channel)

    async def attach(
        self,
        box_id: str,
        *,
        interface: str = "",
        netns: str = "",
        addresses: Sequence[str] = (),
        masquerade: bool = False,
    ) -> AttachedBox:
        """Police an interface, or all links of a network namespace, as the box's.

        Returns when the box's policy is in force; nothing that no policy allows passes from the
        start of the call on, also when it fails.
        """
        request = pb.AttachRequest(box_id=box_id, addresses=addresses, masquerade=masquerade)
        if netns:
            request.netns = netns
        else:
            request.interface = interface
        return _attached(await self._call(self._stub.Attach, request))

    async def detach(self, box_id: str) -> None:
        """Police the box's interfaces no more. Take them down, or remove them, first."""
        await self._call(self._stub.Detach, pb.DetachRequest(box_id=box_id))

    async def status(self) -> AgentStatus:
        """Return what is attached."""
        answer: pb.ListAttachedResponse = await self._call(
            self._stub.ListAttached, pb.ListAttachedRequest()
        )
        boxes = tuple(_attached(box) for box in answer.boxes)
        return AgentStatus(node_id=answer.node_id, connected=answer.connected, boxes=boxes)

    async def explain(self, box_id: str, destinations: Sequence[Destination | str]) -> ExplainedBox:
        """Ask what would become of connections that the box opened now, and why.

        The agent judges by the policy in force and by the leases, and reads back what the kernel
        holds. 1 to 32 destinations. Raises InvalidDestination, NotAttached.
        """
        asked = [Destination.parse(d) if isinstance(d, str) else d for d in destinations]
        request = pb.ExplainRequest(
            box_id=box_id, destinations=[destination_to_proto(one) for one in asked]
        )
        answer: pb.ExplainResponse = await self._call(self._stub.Explain, request)
        pairs = zip(asked, answer.explanations, strict=True)
        return ExplainedBox(
            box=_attached(answer.box), explanations=tuple(_explanation(*pair) for pair in pairs)
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(self, method: Callable[..., Any], request: object) -> Any:
        try:
            return await method(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as exc:
            error = error_of(exc, f"unix:{self._path}")
            if isinstance(error, Unavailable) and not error.reason:
                raise NoAgent(
                    f"no agent answers at {self._path}; start one with `boxwall agent`, as root"
                ) from exc
            raise error from exc


_STATE: Final = {
    pb.AttachedBox.STATE_ENFORCED: AttachedState.ENFORCED,
    pb.AttachedBox.STATE_INTERFACE_GONE: AttachedState.INTERFACE_GONE,
}


def _attached(box: pb.AttachedBox) -> AttachedBox:
    return AttachedBox(
        box_id=box.box_id,
        interface=box.interface,
        addresses=tuple(box.addresses),
        state=_STATE.get(box.state, AttachedState.CLOSED),
        policy_revision=box.policy_revision,
        mode=box.mode,
        message=box.message,
        packets_refused=box.packets_refused,
    )


def _explanation(asked: Destination, message: pb.Explanation) -> Explanation:
    return Explanation(
        destination=asked,
        outcome=Outcome.of(_word(pb.Explanation.Outcome, message.outcome)),
        verdict=verdict_from_proto(message.verdict, asked),
        names=tuple(message.names),
        carriers=tuple(Carrier.of(_word(pb.Explanation.Carrier, one)) for one in message.carriers),
        leases=tuple(map(_leased_name, message.leases)),
        kernel=tuple(map(_kernel_entry, message.kernel)),
        agrees=message.agrees,
        summary=message.summary,
    )


def _leased_name(message: pb.LeasedName) -> LeasedName:
    return LeasedName(
        name=message.name,
        address=message.address,
        grant=message.grant,
        expire_time=time_from_proto(message.expire_time),
        end_time=time_from_proto(message.end_time),
        live=message.live,
        connections=message.connections if message.HasField("connections") else None,
    )


def _kernel_entry(message: pb.KernelEntry) -> KernelEntry:
    return KernelEntry(
        interface=message.interface,
        address=message.address,
        kind=EntryKind.of(_word(pb.KernelEntry.Kind, message.kind)),
        set=message.set,
        element=message.element,
        grant=message.grant,
        live=message.live,
        agrees=message.agrees,
        problem=message.problem,
        connections=message.connections if message.HasField("connections") else None,
    )


def _word(kind: Any, number: int) -> str:
    """OUTCOME_PASSES_IF_NAMED as "passes-if-named"; "unknown" for one of a newer version."""
    if number not in kind.values():
        return "unknown"
    return str(kind.Name(number)).partition("_")[2].lower().replace("_", "-")
