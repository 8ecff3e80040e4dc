"""One TCP connection of a box, from its opening until the server has what was read. Pure.

    OPENED --payload names nothing yet--> OPENED
    OPENED --payload is good--> READ --the server acknowledges it--> PROVEN
    any --something is wrong--> REFUSED

What was judged must be what the server gets. A box can send a good name so that it never arrives
(too few hops, an old timestamp) and another in its place. So nothing counts until the server has
acknowledged it, every segment until then is read, and one that repeats octets otherwise ends the
connection. Octets that name nothing yet go on to the server at once: holding them back would stall
clients that send a name in many small segments.

Sequence numbers count from the first octet after the SYN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, assert_never

from boxwall.policy import Name, Reason, Rule
from boxwall_agent.firstbytes.hello import LONGEST, More
from boxwall_agent.firstbytes.opening import Http, Opaque, Tls, Unwanted, read_opening
from boxwall_agent.judging import Judgement, Refusal
from boxwall_agent.marks import Grant

PATIENCE: Final = 5.0
"""Seconds from the first octet until a name must be complete."""

FIN, SYN, RST, ACK, URG = 0x01, 0x02, 0x04, 0x10, 0x20
_HALF: Final = 1 << 31
_ALL: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """What matters of a TCP segment. Numbers are those on the wire."""

    sequence: int
    acknowledged: int
    flags: int
    payload: bytes = b""


class State(Enum):
    """How far a connection is."""

    OPENED = "opened"
    READ = "read"
    PROVEN = "proven"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Pass:
    """Let this segment go on."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Let it disappear; who sent it will send it again."""


@dataclass(frozen=True, slots=True)
class MarkRead:
    """Let it go on; the name is good, and its grant will be the connection's."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class MarkProven:
    """Let it go on, and all that follows, by this grant."""

    grant: Grant


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse it and the connection. `is_news`: it was not refused before."""

    reason: Reason
    rule: Rule | None = None
    name: Name | None = None
    is_news: bool = True


Decision: TypeAlias = Pass | Drop | MarkRead | MarkProven | Refuse
Judge: TypeAlias = Callable[[Name | None], Judgement]
"""May the connection go where it goes, by the name that it carries? None: it carries none."""

PASS: Final = Pass()
DROP: Final = Drop()


class Flow:
    """One connection. It begins with its SYN."""

    def __init__(self, port: int, judge: Judge, now: float) -> None:
        """`port`: what the box connects to; `now`: seconds."""
        self._port = port
        self._judge = judge
        self._state = State.OPENED
        self._first: int | None = None
        self._read = b""
        self._end = 0
        self._began: float | None = None
        self._grant = Grant(0)
        self._refusal = Refuse(Reason.UNRECOGNISED_PROTOCOL)
        self.touched = now

    @property
    def state(self) -> State:
        """How far it is."""
        return self._state

    def from_box(self, segment: Segment, now: float) -> Decision:
        """The box sends."""
        self.touched = now
        if self._state is State.REFUSED:
            return self._refusal
        if segment.flags & SYN:
            return self._open(segment)
        if self._first is None or segment.flags & URG:
            # Its opening was not seen; or octets that some servers take out of the stream.
            return self._refuse(Refusal(Reason.UNRECOGNISED_PROTOCOL))
        if not segment.payload:
            return PASS
        if self._began is None:
            self._began = now
        at = _distance(self._first, segment.sequence)
        if at < 0 or at > max(self._end, len(self._read)):
            return DROP  # before the stream, or behind a gap: it cannot be read, so nobody gets it
        return self._take(at, segment.payload, now)

    def from_server(self, segment: Segment, now: float) -> Decision:
        """The server answers a connection whose name was read."""
        self.touched = now
        match self._state:
            case State.REFUSED:
                return self._refusal
            case State.OPENED:
                return PASS
            case State.PROVEN:
                return MarkProven(self._grant)
            case State.READ:
                return self._acknowledge(segment)
            case _:
                assert_never(self._state)

    def _open(self, segment: Segment) -> Decision:
        if segment.payload or segment.flags & (FIN | RST | URG | ACK):
            return self._refuse(Refusal(Reason.UNRECOGNISED_PROTOCOL))
        first = (segment.sequence + 1) & _ALL
        if first != self._first:  # else the same once more
            self._first, self._read, self._end, self._began = first, b"", 0, None
            self._state = State.OPENED
        return PASS

    def _take(self, at: int, payload: bytes, now: float) -> Decision:
        known = self._read[at : at + len(payload)]
        if payload[: len(known)] != known:
            return self._refuse(Refusal(Reason.NAME_MISMATCH))
        end = at + len(payload)
        if self._state is not State.OPENED:
            self._end = max(self._end, end)
            return self._marked()
        if self._began is not None and now - self._began > PATIENCE:
            return self._refuse(Refusal(Reason.UNRECOGNISED_PROTOCOL))
        if end > len(self._read):
            self._read += payload[len(self._read) - at :]
            self._end = len(self._read)
            return self._consider()
        return PASS

    def _consider(self) -> Decision:
        """There is more of the stream than before."""
        opening = read_opening(self._read[:LONGEST], self._port)
        match opening:
            case More():
                return PASS
            case Tls(name=None):
                return self._refuse(Refusal(Reason.NAME_MISMATCH))
            case Tls(name=name):
                return self._judged(name)
            case Opaque():
                return self._judged(None)
            case Unwanted(reason=reason):
                return self._refuse(Refusal(reason))
            case Http():
                return self._refuse(Refusal(Reason.CLEAR_HTTP_PORT))
            case _:
                assert_never(opening)

    def _judged(self, name: Name | None) -> Decision:
        judgement = self._judge(name)
        if isinstance(judgement, Refusal):
            return self._refuse(judgement, name)
        if judgement.lease is None:
            return PASS  # the rules let it pass without us, from its next segment on
        self._state = State.READ
        self._grant = judgement.lease.grant
        return self._marked()

    def _acknowledge(self, segment: Segment) -> Decision:
        if self._first is None or not segment.flags & ACK:
            return PASS
        got = _distance(self._first, segment.acknowledged)
        if got > self._end + 1:  # one for a FIN
            return self._refuse(Refusal(Reason.NAME_MISMATCH))  # it got what nobody has read
        if got < len(self._read):
            return PASS
        self._state = State.PROVEN
        return self._marked()

    def _marked(self) -> Decision:
        return MarkProven(self._grant) if self._state is State.PROVEN else MarkRead(self._grant)

    def _refuse(self, refusal: Refusal, name: Name | None = None) -> Refuse:
        self._state = State.REFUSED
        self._refusal = Refuse(refusal.reason, refusal.rule, name, is_news=False)
        return Refuse(refusal.reason, refusal.rule, name)


def _distance(first: int, number: int) -> int:
    """How far `number` is behind `first`; negative: before it. Numbers wrap."""
    return ((number - first + _HALF) & _ALL) - _HALF
