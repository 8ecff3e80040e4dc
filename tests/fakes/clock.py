"""A clock that stands still until a test moves it."""

from boxwall_server.changes.change import Timestamp

START = Timestamp(1_700_000_000_000_000)


class FakeClock:
    """Both clocks of `boxwall_server.clock.Clock`, moved together."""

    def __init__(self, start: Timestamp = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._set_by = 0.0

    def now(self) -> Timestamp:
        """Microseconds since 1970."""
        return Timestamp(self._start + round((self._elapsed + self._set_by) * 1_000_000))

    def steady(self) -> float:
        """Seconds since some start."""
        return 1_000.0 + self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += seconds

    def jump(self, seconds: float) -> None:
        """The machine's clock is set, forward or back: no time passes."""
        self._set_by += seconds
