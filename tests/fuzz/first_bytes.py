"""What must hold for any bytes that a box or a server may send on a connection. Each raises where
it does not.

`tests/boxwall_agent/firstbytes/test_laws.py` feeds them from Hypothesis, `make fuzz` from a fuzzer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from boxwall.policy import Name
from boxwall_agent.firstbytes.flow import (
    ACK,
    FIN,
    RST,
    SYN,
    URG,
    Decision,
    Drop,
    MarkProven,
    MarkRead,
    Refuse,
    State,
)
from boxwall_agent.firstbytes.hello import LONGEST, Broken, Hello, More, read_hello
from boxwall_agent.firstbytes.opening import (
    WEB_PORTS,
    Http,
    Opaque,
    Tls,
    Unwanted,
    read_opening,
)
from boxwall_agent.firstbytes.segments import read_segment
from boxwall_agent.firstbytes.tls import next_handshake
from fakes.tcp_talk import LEASE, PSH, Talk
from fakes.tls_messages import (
    CHANGE_CIPHER,
    EARLY_DATA,
    FATAL,
    RETRY,
    WARNING,
    hello_for,
    server_hello,
)

PORTS: Final = (443, 80, 25, 143, 5432, 9999)
GOOD: Final = hello_for("a.com")
EVIL: Final = hello_for("b.com")
STREAMS: Final = (
    GOOD,
    EVIL,
    GOOD + CHANGE_CIPHER + GOOD,
    GOOD + CHANGE_CIPHER + EVIL,
    GOOD + EARLY_DATA,
    GOOD + EVIL,
    b"\0\0\0\x08\x04\xd2\x16\x2f" + EVIL,
    b"STARTTLS\r\n" + EVIL,
    b"GET / HTTP/1.1\r\nHost: b.com\r\n\r\n",
)
"""What a box may try to say, of which the first name is allowed."""

FLAGS: Final = (PSH | ACK, ACK, FIN | ACK, URG | ACK, RST | ACK, SYN, SYN | ACK, 0)
OTHER_ANSWERS: Final = (FATAL, WARNING, b"S", b"HTTP/1.1 400 Bad Request\r\n")


@dataclass(frozen=True, slots=True)
class Say:
    """The box sends a part of one of STREAMS. Not `arrives`: it is lost behind the agent."""

    stream: int
    at: int | None
    """None: what comes next."""
    size: int
    flags: int
    arrives: bool


class Reply(Enum):
    """The server, as servers are: it acknowledges what it has, and answers what it has."""

    ACKNOWLEDGE = 0
    GO_ON = 1
    ASK_AGAIN = 2
    """Where it may: once, for a hello that it has."""
    SOMETHING_ELSE = 3


Step = Say | Reply


class _Game:
    """What the server has said so far."""

    def __init__(self, port: int) -> None:
        self.talk = Talk(port=port).open()
        self._port = port
        self._asked_at: int | None = None
        self._is_final = False
        self._has_ended = False

    def reply(self, how: Reply) -> Decision:
        """Say what can be said with what the server has."""
        found = read_opening(self.talk.stream, self._port)
        if how is Reply.ACKNOWLEDGE or not isinstance(found, Tls) or self._is_final:
            return self.talk.answer()
        if self._asked_at is None and how is Reply.ASK_AGAIN:
            self._asked_at = found.end
            return self.talk.answer(RETRY + CHANGE_CIPHER)
        if self._asked_at is not None and not isinstance(self.second(found), Hello):
            return self.talk.answer()
        if how is Reply.SOMETHING_ELSE:
            said = OTHER_ANSWERS[len(self.talk.stream) % len(OTHER_ANSWERS)]
            self._has_ended = self._has_ended or said is FATAL
            return self.talk.answer(said)
        self._is_final = True
        return self.talk.answer(server_hello())

    def second(self, first: Tls) -> Hello | More | Broken:
        """What the server has behind the first hello, as another one."""
        behind = self.talk.stream[first.end :]
        at = next_handshake(behind)
        return More() if at is None else read_hello(behind[at:])

    def check(self) -> None:
        """The server has no wrong name, and what is proven is what it goes on with."""
        found = read_opening(self.talk.stream, self._port)
        is_proven = self.talk.state() is State.PROVEN
        assert not isinstance(found, Http | Unwanted), "the server has what is refused"
        if not isinstance(found, Tls):
            assert not is_proven or isinstance(found, Opaque), "proven, and nothing is there"
            return
        assert found.name == LEASE.name, "the server has a wrong name"
        again = self.second(found)
        assert not isinstance(again, Hello) or again.name == LEASE.name, "and a second one"
        if is_proven:
            assert self._is_final or self._has_ended, "proven, and the server may ask once more"


def play(steps: Iterable[Step], port: int = 443) -> None:
    """Whatever a box sends, loses, repeats and mixes: no server has a wrong name of it, and what is
    proven is what the server has and goes on with.
    """
    game = _Game(port)
    for step in steps:
        if isinstance(step, Say):
            at = game.talk.said if step.at is None else step.at
            part = STREAMS[step.stream][at : at + step.size]
            decision = game.talk.say(part, at=at, flags=step.flags, arrives=step.arrives)
            if step.flags & SYN and not isinstance(decision, Refuse | Drop):
                return  # another connection by the same port
        else:
            decision = game.reply(step)
        if isinstance(decision, MarkRead | MarkProven):
            assert decision.grant == LEASE.grant
        if isinstance(decision, Refuse):
            assert game.talk.state() is State.REFUSED
        game.check()
        if game.talk.state() is State.PROVEN:
            return  # nothing more comes here


def fuzz_one_flow(data: bytes) -> None:
    """Bytes as steps: three for what the box sends, one for what the server does."""
    play(steps_from(data[1:]), PORTS[data[0] % len(PORTS)] if data else 443)


def steps_from(data: bytes) -> Sequence[Step]:
    """Read steps: `ssssfffl` `offset` `size`, or `111111rr`."""
    steps: list[Step] = []
    at = 0
    while at < len(data):
        if data[at] >= 0xFC:
            steps.append(Reply(data[at] & 3))
            at += 1
            continue
        head, offset, size = (*data[at : at + 3], 0, 0)[:3]
        stream, flags = (head >> 4) % len(STREAMS), FLAGS[head >> 1 & 7]
        where = None if offset == 0xFF else offset
        steps.append(Say(stream, where, size, flags, arrives=not head & 1))
        at += 3
    return steps


def fuzz_one_hello(data: bytes) -> None:
    """A hello ends somewhere in what was read, and what follows it does not change it."""
    found = read_hello(data)
    match found:
        case Hello():
            assert 0 < found.size <= len(data)
            assert read_hello(data[: found.size]) == found
            assert read_hello(data + b"\x16\x03\x01\0\0") == found
            assert isinstance(read_hello(data[: found.size - 1]), More | Broken)
            _check_name(found.name)
        case More():
            assert len(data) < LONGEST
            _check_name(found.name)
        case Broken():
            assert found.why
            assert isinstance(read_hello(data + b"\0"), Broken), "more made it a hello"


def _check_name(name: Name | None) -> None:
    assert name is None or Name.parse(name.text) == name


def fuzz_one_opening(data: bytes) -> None:
    """On any port: what is read does not change when more comes, unless it asked for more."""
    for port in PORTS:
        for http_ports in (frozenset[int](), frozenset((port,))):
            found = read_opening(data, port, http_ports)
            longer = read_opening(data + b"\r\n", port, http_ports)
            match found:
                case More():
                    assert len(data) < LONGEST
                case Tls():
                    assert 0 < found.end <= len(data)
                    assert longer == found
                    _check_name(found.name)
                case Http():
                    assert port in http_ports
                    assert longer == found
                case Opaque():
                    assert port not in WEB_PORTS
                case Unwanted():
                    assert not isinstance(longer, Tls | Http), "more made it good"


def fuzz_one_segment(data: bytes) -> None:
    """What is read as payload is in the packet."""
    found = read_segment(data)
    if found is not None:
        assert found[1].payload in data
        assert found[0].turned.turned == found[0]
