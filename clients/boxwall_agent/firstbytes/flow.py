"""One TCP connection of a box, from its opening until the server has what was read. Pure.

    OPENING --SYN-ACK--> OPENED --a good name--> READ --the server has it--> PROVEN
    any --something is wrong--> REFUSED

What was judged must be what the server gets. A box can send a good name so that it never arrives
(too few hops, an old timestamp, a number that is not expected) and another in its place. So the
stream begins where the server says in its SYN-ACK, nothing counts until the server has
acknowledged it, every segment until then is read, and one that repeats octets otherwise ends the
connection. TLS is proven when the server has answered: it may ask for the name once more. Octets
that name nothing yet go on to the server at once: holding them back would stall clients that send
a name in many small segments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias, assert_never

from boxwall.policy import Name, Reason, Rule
from boxwall_agent.firstbytes.hello import LONGEST, Broken, Hello, More, read_hello
from boxwall_agent.firstbytes.opening import Http, Opaque, Tls, Unwanted, read_opening
from boxwall_agent.firstbytes.tls import Answer, next_handshake, read_answer
from boxwall_agent.judging import Judgement, Refusal
from boxwall_agent.marks import Grant

PATIENCE: Final = 5.0
"""Seconds until a name must be complete, from the first octet, or from the first that follows what
a server has to answer.
"""

MOST_READ: Final = 3 * LONGEST
"""Octets of a box that are kept; more has to wait until the server has answered."""

FIN, SYN, RST, ACK, URG = 0x01, 0x02, 0x04, 0x10, 0x20
_ANSWER_KEPT: Final = 64
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

    OPENING = "opening"
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
_MISMATCH: Final = Refusal(Reason.NAME_MISMATCH)
_UNRECOGNISED: Final = Refusal(Reason.UNRECOGNISED_PROTOCOL)


class Flow:
    """One connection. It begins with its SYN: only the first of a tracked connection comes here."""

    def __init__(self, port: int, judge: Judge, now: float) -> None:
        """`port`: what the box connects to; `now`: seconds."""
        self._port = port
        self._judge = judge
        self.touched = now
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._state = State.OPENING
        self._first: int | None = None
        self._read = b""
        self._began: float | None = None
        self._named_until = 0
        self._name: Name | None = None
        self._is_tls = False
        self._wants_another = False
        self._answer_at: int | None = None
        self._answer = b""
        self._grant = Grant(0)
        self._refusal = Refuse(Reason.UNRECOGNISED_PROTOCOL)
        self._is_finished = False

    @property
    def state(self) -> State:
        """How far it is."""
        return self._state

    def from_box(self, segment: Segment, now: float) -> Decision:
        """The box sends."""
        self.touched = now
        if segment.flags & SYN:
            return self._open(segment)
        if self._state is State.REFUSED:
            return self._refusal
        if self._first is None or segment.flags & URG:
            # Its opening was not seen; or octets that some servers take out of the stream.
            return self._refuse(_UNRECOGNISED)
        if not segment.payload:
            return PASS
        at = _distance(self._first, segment.sequence)
        if at < 0 or at > len(self._read) or at + len(segment.payload) > MOST_READ:
            return DROP  # it cannot be read, so nobody gets it
        return self._take(at, segment, now)

    def from_server(self, segment: Segment, now: float) -> Decision:
        """The server answers: it opens the connection, or has what was read."""
        self.touched = now
        match self._state:
            case State.OPENING:
                return self._opened(segment)
            case State.OPENED:
                return PASS
            case State.READ:
                return self._answered(segment)
            case State.PROVEN:
                return MarkProven(self._grant)
            case State.REFUSED:
                return self._refusal
            case _:
                assert_never(self._state)

    def _open(self, segment: Segment) -> Decision:
        self._begin_anew()
        if segment.payload or segment.flags & (FIN | RST | URG | ACK):
            return self._refuse(_UNRECOGNISED)
        return PASS

    def _opened(self, segment: Segment) -> Decision:
        if segment.flags & (SYN | ACK) == SYN | ACK:
            self._first = segment.acknowledged
            self._state = State.OPENED
        return PASS

    def _take(self, at: int, segment: Segment, now: float) -> Decision:
        payload = segment.payload
        known = self._read[at : at + len(payload)]
        if payload[: len(known)] != known:
            return self._refuse(_MISMATCH)
        new = payload[len(known) :]
        if new and self._is_finished:
            return self._refuse(_MISMATCH)  # octets behind the end, which servers do not take
        self._is_finished = self._is_finished or bool(segment.flags & FIN)
        self._began = now if self._began is None else self._began
        if not new:
            return PASS if self._state is State.OPENED else self._marked()
        self._read += new
        if self._state is State.OPENED:
            if now - self._began > PATIENCE:
                return self._refuse(_UNRECOGNISED)
            return self._consider(segment)
        return self._consider_more(segment)

    def _consider(self, segment: Segment) -> Decision:
        """There is more of the stream than before, and it has named nothing yet."""
        opening = read_opening(self._read, self._port)
        match opening:
            case More():
                return self._so_far(opening)
            case Tls(name=None):
                return self._refuse(_MISMATCH)
            case Tls():
                self._is_tls = True
                return self._judged(opening.name, opening.end, segment)
            case Opaque():
                return self._judged(None, len(self._read), segment)
            case Unwanted():
                return self._refuse(Refusal(opening.reason))
            case Http():
                return self._refuse(Refusal(Reason.CLEAR_HTTP_PORT))
            case _:
                assert_never(opening)

    def _so_far(self, opening: More) -> Decision:
        """A wrong name is refused when it is complete, not when all that follows it is. Servers
        take their time: what follows their answer, as behind STARTTLS, has a time of its own.
        """
        name = opening.name
        if opening.is_servers_turn:
            self._began = None
        judgement = None if name is None else self._judge(name)
        return self._refuse(judgement, name) if isinstance(judgement, Refusal) else PASS

    def _judged(self, name: Name | None, end: int, segment: Segment) -> Decision:
        judgement = self._judge(name)
        if isinstance(judgement, Refusal):
            return self._refuse(judgement, name)
        if judgement.lease is None:
            return PASS  # the rules let it pass without us, from its next segment on
        self._state = State.READ
        self._grant = judgement.lease.grant
        self._name = name
        self._named_until = end
        self._answer_at = segment.acknowledged
        return self._consider_more(segment)

    def _consider_more(self, segment: Segment) -> Decision:
        """What follows a ClientHello must not be another, unless the server has asked for it."""
        if not self._is_tls or self._state is State.PROVEN:
            return self._marked()
        behind = self._read[self._named_until :]
        at = next_handshake(behind)
        if at is None:
            return self._refuse(_MISMATCH)
        if at >= len(behind):
            return self._marked()
        if not self._wants_another:
            return self._refuse(_MISMATCH)
        again = read_hello(behind[at:])
        match again:
            case More():
                wrong = again.name is not None and again.name != self._name
                return self._refuse(_MISMATCH, again.name) if wrong else self._marked()
            case Hello() if again.name == self._name:
                self._named_until += at + again.size
                self._wants_another = False
                self._answer_at, self._answer = segment.acknowledged, b""
                return self._marked()
            case Hello():
                return self._refuse(_MISMATCH, again.name)
            case Broken():
                return self._refuse(_UNRECOGNISED)
            case _:
                assert_never(again)

    def _answered(self, segment: Segment) -> Decision:
        """The server has acknowledged exactly what was read, and, in TLS, goes on with it."""
        if self._first is None or not segment.flags & ACK:
            return PASS
        got = _distance(self._first, segment.acknowledged)
        if got > len(self._read) + 1:  # one for a FIN
            return self._refuse(_MISMATCH)  # it got what nobody has read
        if self._is_tls:
            refusal = self._read_answer(segment)
            if refusal is not None:
                return self._refuse(refusal)
        if got < self._named_until or self._wants_another or not self._is_final():
            return PASS
        self._state = State.PROVEN
        return self._marked()

    def _is_final(self) -> bool:
        return not self._is_tls or read_answer(self._answer) is Answer.FINAL

    def _read_answer(self, segment: Segment) -> Refusal | None:
        """Gather the beginning of what the server says; return why the connection must end."""
        if self._answer_at is None or self._wants_another:
            return None
        at = _distance(self._answer_at, segment.sequence)
        if 0 <= at <= len(self._answer) < _ANSWER_KEPT:
            self._answer += segment.payload[len(self._answer) - at :]
        match read_answer(self._answer):
            case Answer.STRANGE:
                return _UNRECOGNISED
            case Answer.RETRY:
                self._wants_another = True
        return None

    def _marked(self) -> Decision:
        return MarkProven(self._grant) if self._state is State.PROVEN else MarkRead(self._grant)

    def _refuse(self, refusal: Refusal, name: Name | None = None) -> Refuse:
        self._state = State.REFUSED
        self._refusal = Refuse(refusal.reason, refusal.rule, name, is_news=False)
        return Refuse(refusal.reason, refusal.rule, name)


def _distance(first: int, number: int) -> int:
    """How far `number` is behind `first`; negative: before it. Numbers wrap."""
    return ((number - first + _HALF) & _ALL) - _HALF
