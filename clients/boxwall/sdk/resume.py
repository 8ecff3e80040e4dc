"""When does a stream that must go on for ever connect again, and where does it continue? Pure.

    WAITING --connect()--> OPEN --lost() or go_away()--> WAITING

The caller connects at `retry_at`, continues after `cursor`, calls `heard` for every message and
`applied` when it has done what a message said; at `dead_at` it must give the connection up. Time
and randomness come in. `Box.watch` and the node agent share this.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final

FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 10.0
"""Seconds: bounds of the backoff before jitter."""

BOOKMARK_INTERVAL: Final = 10.0
MISSED_BOOKMARKS: Final = 3
SILENCE: Final = MISSED_BOOKMARKS * BOOKMARK_INTERVAL
"""Seconds without a message after which a stream is dead."""

LONGEST_ORDER: Final = 300.0
"""Seconds: a server cannot keep a client away for longer than this."""


class Phase(Enum):
    """What a resuming stream is doing."""

    WAITING = "waiting"
    """Not connected; connect at `retry_at`."""
    OPEN = "open"
    """Connected or connecting; alive until `dead_at`."""


class IllegalInput(Exception):
    """An input that the phase does not allow. Nothing has changed."""


class Backoff:
    """Full jitter: each delay is anywhere from 0 to a cap that doubles, 0.2 s to 10 s.

    Spreading over the whole interval, not around its end, is what keeps clients that lost the same
    server from coming back together. `random` returns numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0

    def next_delay(self, at_least: float = 0.0) -> float:
        """Return the seconds to wait after one more failure; jitter comes on top of `at_least`."""
        # The exponent is bounded too: 2.0 ** 1024 overflows after days of failures.
        cap = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return min(max(at_least, 0.0), LONGEST_ORDER) + self._random() * cap

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._failures = 0


class Resuming:
    """See the module's docstring. All times are seconds of one steady clock."""

    def __init__(self, *, now: float, random: Callable[[], float], cursor: str = "") -> None:
        self._backoff = Backoff(random)
        self._phase = Phase.WAITING
        self._cursor = cursor
        self._retry_at = now
        self._opened_at = now
        self._heard_at = now

    @property
    def phase(self) -> Phase:
        """What the stream is doing."""
        return self._phase

    @property
    def cursor(self) -> str:
        """Continue after this. Empty: from the beginning."""
        return self._cursor

    @property
    def retry_at(self) -> float:
        """When to connect. Only while WAITING."""
        self._require(Phase.WAITING)
        return self._retry_at

    @property
    def dead_at(self) -> float:
        """When the stream counts as dead unless something is heard before. Only while OPEN."""
        self._require(Phase.OPEN)
        return self._heard_at + SILENCE

    def connect(self, now: float) -> str:
        """Connecting begins; return the cursor to continue after."""
        self._require(Phase.WAITING)
        self._phase = Phase.OPEN
        self._opened_at = self._heard_at = now
        return self._cursor

    def heard(self, now: float) -> None:
        """A message came, whatever it says; or the caller is back from handing one on.

        Only a stream that has lasted for LONGEST_DELAY resets the backoff: one that is accepted and
        dropped at once, again and again, must not be opened at full speed.
        """
        self._require(Phase.OPEN)
        self._heard_at = now
        if now - self._opened_at >= LONGEST_DELAY:
            self._backoff.reset()

    def applied(self, cursor: str) -> None:
        """Everything up to `cursor` is done. Empty (a page that more must follow): no change."""
        self._require(Phase.OPEN)
        self._cursor = cursor or self._cursor

    def go_away(self, now: float, reconnect_after: float) -> None:
        """The server is about to stop, and told when to come back. That is no failure of ours.

        Unless the stream was young: two servers that send a client to each other must not be fast.
        """
        self._require(Phase.OPEN)
        if now - self._opened_at >= LONGEST_DELAY:
            self._backoff.reset()
            self._wait_until(now + min(max(reconnect_after, 0.0), LONGEST_ORDER))
        else:
            self._wait_until(now + self._backoff.next_delay(reconnect_after))

    def lost(self, now: float, retry_after: float | None = None) -> None:
        """The connection failed, ended or is dead. `retry_after`: seconds, if the server said."""
        self._require(Phase.OPEN)
        self._wait_until(now + self._backoff.next_delay(retry_after or 0.0))

    def forget_cursor(self) -> None:
        """The server cannot read the cursor: begin anew with the whole state."""
        self._cursor = ""

    def _wait_until(self, at: float) -> None:
        self._phase = Phase.WAITING
        self._retry_at = at

    def _require(self, phase: Phase) -> None:
        if self._phase is not phase:
            raise IllegalInput(f"the stream is {self._phase.value}, not {phase.value}")
