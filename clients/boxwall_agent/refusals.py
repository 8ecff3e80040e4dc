"""Where all that is refused comes together: the log, the metrics, and what the control plane hears.

The kernel's records come already limited for each box; what the agent refuses by name is limited
here, so that one box cannot fill the log.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from boxwall.policy import Destination, Reason, Rule
from boxwall.wire.entries import Refused
from boxwall.wire.node_stream import Request, refusals_request
from boxwall_agent.hosted import Hosted
from boxwall_agent.refused import Gathered

_REPORT_INTERVAL: Final = 0.25
"""Seconds between reports to the control plane."""

_log = structlog.get_logger()


class Refusals:
    """`send` returns False when nobody can be told now; `observe` is told each reason."""

    def __init__(
        self, send: Callable[[Request], bool], observe: Callable[[str], None], per_second: int
    ) -> None:
        self._send = send
        self._observe = observe
        self._per_second = per_second
        self._gathered = Gathered()
        self._second = 0
        self._in_second: dict[str, int] = {}

    async def run(self) -> None:
        """Report, until cancelled."""
        while True:
            await asyncio.sleep(_REPORT_INTERVAL)
            # What nobody can be told now waits, bounded.
            if self._gathered and self._send(refusals_request(*self._gathered.contents())):
                self._gathered = Gathered()

    def by_name(
        self, hosted: Hosted, destination: Destination, reason: Reason, rule: Rule | None
    ) -> None:
        """The agent refused this, by a name that it read. Recorded so often in a second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, {}
        count = self._in_second.get(hosted.box_id, 0)
        self._in_second[hosted.box_id] = count + 1
        if count < self._per_second:
            self.add(hosted, destination, reason, rule)

    def add(
        self, hosted: Hosted, destination: Destination, reason: Reason, rule: Rule | None
    ) -> None:
        """This was refused."""
        refused = Refused(
            box_id=hosted.box_id,
            destination=destination,
            reason=reason,
            rule=rule,
            revision=hosted.revision,
        )
        self._observe(reason.name)
        self._gathered.add(refused, time.time())
        _log.info(
            "refused",
            box=hosted.box_id,
            name=None if destination.domain is None else str(destination.domain),
            address=None if destination.address is None else str(destination.address),
            port=destination.port,
            protocol=destination.protocol.name.lower(),
            reason=reason.name,
            rule=None if rule is None else rule.text,
            revision=hosted.revision,
        )
