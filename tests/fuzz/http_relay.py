"""What must hold for any bytes that a box may send to a clear HTTP port. Each raises where it does
not.

`tests/boxwall_agent/relay/test_laws.py` feeds them from Hypothesis, `make fuzz` from a fuzzer.
"""

import asyncio
from typing import Final

import h11

from boxwall.policy import Name
from boxwall_agent.relay.http import HttpRelay
from boxwall_agent.relay.streams import Stream

PORT: Final = 80
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_BAD_ANSWERS: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"\0\0\0",
)


class _Writer:
    """Where the relay writes for the box."""

    def __init__(self) -> None:
        self.written = b""
        self.transport = self

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        """Never slow."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """As it is."""

    def close(self) -> None:
        """As it is."""

    def abort(self) -> None:
        """As it is."""

    async def wait_closed(self) -> None:
        """At once."""


class _Server(_Writer):
    """Reads strictly what the relay writes, and answers each request; the last of `answers` ends
    the connection.
    """

    def __init__(self, reader: asyncio.StreamReader, answers: list[bytes]) -> None:
        super().__init__()
        self.hosts: list[str] = []
        self._reader = reader
        self._answers = answers
        self._connection = h11.Connection(h11.SERVER)
        self.has_ended = False

    def write(self, data: bytes) -> None:
        self._connection.receive_data(data)
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Request):
                (host,) = [value for header, value in event.headers if header == b"host"]
                self.hosts.append(host.decode("ascii").partition(":")[0].lower().rstrip("."))
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
            if not isinstance(event, h11.Request | h11.Data | h11.EndOfMessage):
                return

    def _answer(self) -> None:
        if self.has_ended:
            return
        if self._answers:
            self._reader.feed_data(self._answers.pop(0))
            self._reader.feed_eof()
            self.has_ended = True
            return
        self._reader.feed_data(_ANSWER)
        for event in (
            h11.Response(status_code=200, headers=[("Content-Length", "0")]),
            h11.EndOfMessage(),
        ):
            self._connection.send(event)
        if self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()


def fuzz_one_relayed(data: bytes, bad_answer: int | None = None) -> None:
    """What a server gets are requests that can be read in one way, each for a name that was judged
    and allowed; what cannot be understood is refused, and fails nothing.
    """
    asyncio.run(_relay(data, bad_answer))


async def _relay(data: bytes, bad_answer: int | None) -> None:
    judged: list[str] = []
    servers: list[_Server] = []

    def judge(name: Name) -> str:
        judged.append(name.text)
        return "" if name.text.startswith("a") else "not allowed"

    async def connect() -> Stream:
        reader = asyncio.StreamReader()
        bad = [] if bad_answer is None else [_BAD_ANSWERS[bad_answer % len(_BAD_ANSWERS)]]
        servers.append(_Server(reader, bad))
        return Stream(reader, servers[-1])  # type: ignore[arg-type]  # of the same shape

    reader = asyncio.StreamReader()
    reader.feed_data(data[1:])
    reader.feed_eof()
    box = _Writer()
    relay = HttpRelay(Stream(reader, box), PORT, judge, connect)  # type: ignore[arg-type]  # of the same shape
    async with asyncio.timeout(5):
        await relay.run(data[:1])
    hosts = [host for server in servers for host in server.hosts]
    allowed = [name for name in judged if name.startswith("a")]
    assert len(servers) <= 1 + sum(server.has_ended for server in servers)
    assert hosts == allowed, "a server has a request that was not judged, or not as it was"
    if not allowed:
        assert not servers, "connected for nothing"


def fuzz_one_relayed_badly(data: bytes) -> None:
    """The same, with a server that answers wrongly."""
    if data:
        fuzz_one_relayed(data[1:], data[0])
