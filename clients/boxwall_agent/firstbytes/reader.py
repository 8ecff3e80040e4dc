"""Reads the first bytes of boxes' connections, and answers the kernel for each packet.

    queue --packet--> read_segment --> the connection's Flow --decision--> verdict

A mistake in here denies: a packet that cannot be understood, and one that makes the reader fail,
ends its connection.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, assert_never

import structlog

from boxwall.policy import Address, Destination, Name
from boxwall.policy import Protocol as Transport
from boxwall_agent.firstbytes.flow import Decision, Drop, Flow, MarkProven, MarkRead, Pass, Refuse
from boxwall_agent.firstbytes.segments import read_segment
from boxwall_agent.hosted import Hosted
from boxwall_agent.judging import Judgement, Refusal
from boxwall_agent.marks import REFUSED, VERDICT_ACKNOWLEDGED, VERDICT_READ
from boxwall_agent.nfqueue import PacketQueue, Queued
from boxwall_agent.packets import Ends

OF_A_BOX: Final = 4096
"""Connections of a box that are being read at one time; the oldest makes room."""

FORGOTTEN_AFTER: Final = 300.0
"""Seconds after which a connection that said nothing more is forgotten, and refused later."""

_AT_A_TIME: Final = 64
"""Packets until something else has its turn."""

_log = structlog.get_logger()


class Boxes(Protocol):
    """What the reader must know of boxes."""

    def hosted_on(self, index: int) -> Hosted | None:
        """Return the box whose interface has this index, or None."""

    def judge(self, box_id: str, address: Address, name: Name | None) -> Judgement:
        """May the box reach the address by the name that its connection carries?"""

    def refused(self, box_id: str, destination: Destination, refusal: Refusal) -> None:
        """This was refused."""

    def ended(self, box_id: str, opened: Ends) -> None:
        """The connection that was opened so is refused from now on."""


class FirstBytes:
    """The listener of the queue."""

    def __init__(
        self, queue: PacketQueue, boxes: Boxes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue = queue
        self._boxes = boxes
        self._clock = clock
        self._flows: dict[str, OrderedDict[Ends, Flow]] = {}

    async def run(self) -> None:
        """Read, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._queue.socket, self._read)
        try:
            while True:
                await asyncio.sleep(FORGOTTEN_AFTER / 10)
                self._forget()
        finally:
            loop.remove_reader(self._queue.socket)

    def forget_box(self, box_id: str) -> None:
        """The box is gone: what is read of its connections is worth nothing."""
        self._flows.pop(box_id, None)

    def _read(self) -> None:
        for _, queued in zip(range(_AT_A_TIME), self._queue.read(), strict=False):
            try:
                self._answer(queued, self._decide(queued))
            except Exception as exc:  # noqa: BLE001  # whatever it is, it must deny
                _log.error("first_bytes_failed", exc_info=exc)
                self._queue.repeat(queued, REFUSED)

    def _decide(self, queued: Queued) -> Decision:
        found = read_segment(queued.packet)
        if found is None:
            return Drop()
        ends, segment = found
        now = self._clock()
        hosted = self._boxes.hosted_on(queued.input_index)
        if hosted is not None:
            decision = self._flow(hosted, ends, now).from_box(segment, now)
            self._report(hosted, ends, decision)
            return decision
        hosted = self._boxes.hosted_on(queued.output_index)
        if hosted is None:
            return Drop()
        flow = self._flows.setdefault(hosted.box_id, OrderedDict()).get(ends.turned)
        return Drop() if flow is None else flow.from_server(segment, now)

    def _flow(self, hosted: Hosted, ends: Ends, now: float) -> Flow:
        flows = self._flows.setdefault(hosted.box_id, OrderedDict())
        flow = flows.get(ends)
        if flow is None:
            judge = partial(self._boxes.judge, hosted.box_id, ends.destination)
            flow = flows[ends] = Flow(ends.destination_port, judge, now)
            if len(flows) > OF_A_BOX:
                flows.popitem(last=False)
        return flow

    def _answer(self, queued: Queued, decision: Decision) -> None:
        match decision:
            case Pass():
                self._queue.accept(queued)
            case Drop():
                self._queue.drop(queued)
            case MarkRead(grant=grant):
                self._queue.repeat(queued, VERDICT_READ | grant)
            case MarkProven(grant=grant):
                self._queue.repeat(queued, VERDICT_ACKNOWLEDGED | grant)
            case Refuse():
                self._queue.repeat(queued, REFUSED)
            case _:
                assert_never(decision)

    def _report(self, hosted: Hosted, ends: Ends, decision: Decision) -> None:
        if isinstance(decision, Refuse) and decision.is_news:
            where = Destination(
                domain=decision.name,
                address=ends.destination,
                port=ends.destination_port or None,
                protocol=Transport.TCP,
            )
            self._boxes.refused(hosted.box_id, where, Refusal(decision.reason, decision.rule))
            self._boxes.ended(hosted.box_id, ends)

    def _forget(self) -> None:
        before = self._clock() - FORGOTTEN_AFTER
        for flows in self._flows.values():
            for ends in [ends for ends, flow in flows.items() if flow.touched < before]:
                del flows[ends]
