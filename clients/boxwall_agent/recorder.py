"""Turns the kernel's records of refused packets into events."""

import asyncio

from boxwall_agent.enforcer import Enforcer
from boxwall_agent.hosted import Hosted
from boxwall_agent.nflog import Logged, LogGroup
from boxwall_agent.packets import read_packet
from boxwall_agent.refusals import Refusals
from boxwall_agent.refused import destination_of, why


class Recorder:
    """Reads one NFLOG group."""

    def __init__(self, group: LogGroup, enforcer: Enforcer, refusals: Refusals) -> None:
        self._group = group
        self._enforcer = enforcer
        self._refusals = refusals

    async def run(self) -> None:
        """Read, until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._group.socket, self._read)
        try:
            await asyncio.Event().wait()
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
        if found is not None:
            self._refusals.add(hosted, destination_of(packet), found.reason, found.rule)
