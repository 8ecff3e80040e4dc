"""The actor that attaches boxes to an agent and detaches them, over the agent's socket."""

import grpc

from bench.connections import connect
from bench.messages import box_id
from bench.twenty import addresses_of
from boxwall.agent.v1 import agent_service_pb2, agent_service_pb2_grpc

TIMEOUT = 30.0


class Attacher:
    """Runs in a process of its own, as root."""

    def __init__(self) -> None:
        self._channel: grpc.aio.Channel | None = None

    async def anew(self, socket: str, boxes: list[int]) -> int:
        """Detach some boxes, and attach each again by its interface; return how many of them are
        enforced then.
        """
        if self._channel is None:
            self._channel = connect(socket)
        agent = agent_service_pb2_grpc.AgentServiceStub(self._channel)
        enforced = 0
        for box in boxes:
            detach = agent_service_pb2.DetachRequest(box_id=box_id(box))
            await agent.Detach(detach, timeout=TIMEOUT)
            attach = agent_service_pb2.AttachRequest(
                box_id=box_id(box), interface=f"box{box}", addresses=addresses(box)
            )
            attached = await agent.Attach(attach, timeout=TIMEOUT)
            enforced += attached.state == agent_service_pb2.AttachedBox.STATE_ENFORCED
        return enforced


def addresses(box: int) -> list[str]:
    """Return what a box may send from."""
    return [str(one) for one in addresses_of(box)]
