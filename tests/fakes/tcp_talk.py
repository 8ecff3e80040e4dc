"""A box and a server on one TCP connection, with the agent's flow between them."""

from boxwall.policy import Address, Name, Reason
from boxwall_agent.firstbytes.flow import (
    ACK,
    SYN,
    Decision,
    Drop,
    Flow,
    Judge,
    Refuse,
    Segment,
    State,
)
from boxwall_agent.judging import Judgement, Passed, Refusal
from boxwall_agent.leases import Lease
from boxwall_agent.marks import Grant

PSH = 0x08
LEASE = Lease(
    name=Name.parse("a.com"), address=Address.parse("8.8.4.4"), grant=Grant(7), end=1000.0
)
MISMATCH = Refusal(Reason.NAME_MISMATCH)
_ALL = (1 << 32) - 1


def only_a_com(name: Name | None) -> Judgement:
    """a.com is leased there, and so whatever carries no name passes too."""
    return Passed(LEASE) if name in (None, LEASE.name) else MISMATCH


class Talk:
    """Numbers in the stream count from its first octet, whatever they are on the wire.

    The server takes what goes on to it, in order; `stream` is what it has.
    """

    def __init__(
        self,
        judge: Judge = only_a_com,
        *,
        port: int = 443,
        box_first: int = 1001,
        server_first: int = 5001,
    ) -> None:
        self.flow = Flow(port, judge, 0.0)
        self.now = 0.0
        self.stream = b""
        self.said = 0
        self.answered = 0
        self._waiting: dict[int, bytes] = {}
        self._box_first = box_first
        self._server_first = server_first

    def state(self) -> State:
        """How far the flow is."""
        return self.flow.state

    def syn(self, *, flags: int = SYN, data: bytes = b"", at: int = -1) -> Decision:
        """The box opens it."""
        return self.flow.from_box(Segment(self._out(at), 0, flags, data), self.now)

    def syn_ack(self, *, flags: int = SYN | ACK, got: int = 0) -> Decision:
        """The server opens it."""
        answer = Segment(self._back(-1), self._out(got), flags)
        return self.flow.from_server(answer, self.now)

    def open(self) -> "Talk":
        """Both open it."""
        self.syn()
        self.syn_ack()
        return self

    def say(
        self,
        data: bytes,
        *,
        at: int | None = None,
        flags: int = PSH | ACK,
        acknowledged: int | None = None,
        arrives: bool = True,
    ) -> Decision:
        """The box sends, by default what comes next. `arrives`: whether the server gets it."""
        where = self.said if at is None else at
        has = self.answered if acknowledged is None else acknowledged
        segment = Segment(self._out(where), self._back(has), flags, data)
        decision = self.flow.from_box(segment, self.now)
        if not isinstance(decision, Drop | Refuse):
            self.said = max(self.said, where + len(data))
            if arrives:
                self._take(where, data)
        return decision

    def answer(
        self,
        data: bytes = b"",
        *,
        at: int | None = None,
        got: int | None = None,
        flags: int = ACK,
    ) -> Decision:
        """The server sends, by default what comes next, and acknowledges what it has."""
        where = self.answered if at is None else at
        has = len(self.stream) if got is None else got
        segment = Segment(self._back(where), self._out(has), flags, data)
        decision = self.flow.from_server(segment, self.now)
        self.answered = max(self.answered, where + len(data))
        return decision

    def _out(self, at: int) -> int:
        return self._box_first + at & _ALL

    def _back(self, at: int) -> int:
        return self._server_first + at & _ALL

    def _take(self, at: int, data: bytes) -> None:
        """As servers do: what they have already stays, what comes early waits."""
        if data and len(data) > len(self._waiting.get(at, b"")):
            self._waiting[at] = data
        for start in sorted(self._waiting):
            if start <= len(self.stream):
                self.stream += self._waiting.pop(start)[len(self.stream) - start :]
