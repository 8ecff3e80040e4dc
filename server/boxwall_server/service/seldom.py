"""Says of things that strangers can make happen at will when one of them is worth a line. Pure."""

from typing import Final

_PAUSE: Final = 1.0
"""Seconds between two lines about things of one kind."""


class Seldom:
    """For a bounded number of kinds: each is remembered."""

    def __init__(self, pause: float = _PAUSE) -> None:
        self._pause = pause
        self._last: dict[str, float] = {}
        self._passed: dict[str, int] = {}

    def note(self, kind: str, now: float) -> int | None:
        """One more has happened. Return how many were passed over before, or None to pass over."""
        last = self._last.get(kind)
        if last is not None and now - last < self._pause:
            self._passed[kind] = self._passed.get(kind, 0) + 1
            return None
        self._last[kind] = now
        return self._passed.pop(kind, 0)
