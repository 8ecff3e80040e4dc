"""Turns refused packets into events: in the log, in the metrics, and to the control plane."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from boxwall.wire.entries import Refused
from boxwall.wire.node_stream import Request, refusals_request
from boxwall_agent.enforcer import Enforcer
from boxwall_agent.hosted import Hosted
from boxwall_agent.nflog import Logged, LogGroup
from boxwall_agent.packets import read_packet
from boxwall_agent.refused import Gathered, destination_of, why

_REPORT_INTERVAL: Final = 0.25
"""Seconds between reports to the control plane."""

_log = structlog.get_logger()


class Recorder:
    """Reads one NFLOG group. `send` returns False when nobody can be told now."""

    def __init__(
        self,
        group: LogGroup,
        enforcer: Enforcer,
        send: Callable[[Request], bool],
        observe: Callable[[str], None],
    ) -> None:
        self._group = group
        self._enforcer = enforcer
        self._send = send
        self._observe = observe
        self._gathered = Gathered()

    async def run(self) -> None:
        """Read and report, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._group.socket, self._read)
        try:
            while True:
                await asyncio.sleep(_REPORT_INTERVAL)
                self._report()
        finally:
            loop.remove_reader(self._group.socket)

    def _read(self) -> None:
        for logged in self._group.read():
            hosted = self._enforcer.hosted_on(logged.input_index)
            if hosted is not None:
                self._record(hosted, logged)

    def _record(self, hosted: Hosted, logged: Logged) -> None:
        packet = read_packet(logged.packet)
        if packet is None:
            return
        found = why(logged.prefix, hosted.policy, packet, self._enforcer.surroundings)
        if found is None:
            return
        destination = destination_of(packet)
        refused = Refused(
            box_id=hosted.box_id,
            destination=destination,
            reason=found.reason,
            rule=found.rule,
            revision=hosted.revision,
        )
        self._observe(found.reason.name)
        self._gathered.add(refused, time.time())
        _log.info(
            "refused",
            box=hosted.box_id,
            address=str(destination.address),
            port=destination.port,
            protocol=destination.protocol.name.lower(),
            reason=found.reason.name,
            rule=None if found.rule is None else found.rule.text,
            revision=hosted.revision,
        )

    def _report(self) -> None:
        """What nobody can be told now waits, bounded."""
        if self._gathered and self._send(refusals_request(*self._gathered.contents())):
            self._gathered = Gathered()
