"""How many streams may begin at once? A bounded rate; others get a time to come back. Pure."""


class Admission:
    """A token bucket that gives each one it turns away a slot of its own.

    With rate 500/s and burst 1,000, of 5,000 that come at once 1,000 are admitted, and the others
    are asked to come back after 2 ms, 4 ms, ... 8 s, so that they do not come at once again.
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._promised = 0.0
        self._at = 0.0

    def ask(self, now: float) -> float:
        """Return 0 if one may begin now, else the seconds after which to ask again.

        `now` is in seconds of a steady clock.
        """
        gained = (now - self._at) * self._rate if self._at else 0.0
        self._at = now
        self._tokens = min(self._burst, self._tokens + gained)
        self._promised = max(0.0, self._promised - gained)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        self._promised += 1
        return self._promised / self._rate

    def give_back(self) -> None:
        """Take back what was admitted last: it cost nothing."""
        self._tokens = min(self._burst, self._tokens + 1)
