"""What time is it? The port, and the one adapter that asks the machine."""

import time
from typing import Protocol

from boxwall_server.changes.change import Timestamp


class Clock(Protocol):
    """Two clocks: one for people, one for durations."""

    def now(self) -> Timestamp:
        """Return the wall clock. It may jump."""

    def steady(self) -> float:
        """Return seconds that never go back, from an unknown start."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> Timestamp:
        """Return microseconds since 1970 UTC."""
        return Timestamp(time.time_ns() // 1000)

    def steady(self) -> float:
        """Return seconds since some start."""
        return time.monotonic()
