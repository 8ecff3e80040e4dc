"""What a resolver is asked, and what of all that comes back is its answer."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from boxwall_agent.dns.exchange import exchange, is_answer, query_to_resolver
from boxwall_agent.dns.question import AAAA, A
from boxwall_agent.dns.upstream import Resolver, ResolversOfHost, Upstream
from fakes.dns_messages import on_wire

HERE = "127.77.0.1"
"""A loopback address whose ports nobody else takes."""

NAME = on_wire("api.example.com")
QUERY = query_to_resolver(NAME, A, 0x1234)


def answer_to(query: bytes, **changed: object) -> bytes:
    """An answer as dnspython makes it."""
    made = dns.message.make_response(dns.message.from_wire(query))
    for field, value in changed.items():
        setattr(made, field, value)
    return made.to_wire()


@contextlib.asynccontextmanager
async def truncating(by_stream: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A resolver whose answers do not fit into datagrams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        answer = by_stream(query)
        writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    with resolver(lambda query: [answer_to(query, flags=dns.flags.QR | dns.flags.TC)]) as port:
        async with await asyncio.start_server(serve, HERE, port):
            yield port


def _without_question(code: int) -> bytes:
    return struct.pack(">HHHHHH", 0x1234, 0x8000 | code, 0, 0, 0, 0)


def test_a_query_is_one_question_that_asks_for_recursion_and_offers_edns() -> None:
    message = dns.message.from_wire(QUERY)
    assert message.id == 0x1234
    assert message.flags == dns.flags.RD
    assert [one.to_text() for one in message.question] == ["api.example.com. IN A"]
    assert (message.edns, message.payload) == (0, 1232)


@pytest.mark.parametrize(
    ("message", "is_it"),
    [
        pytest.param(answer_to(QUERY), True, id="its answer"),
        pytest.param(
            answer_to(QUERY).replace(b"api", b"ApI"), True, id="in another case, as names are"
        ),
        pytest.param(answer_to(QUERY, id=0x1235), False, id="another id"),
        pytest.param(QUERY, False, id="a query"),
        pytest.param(answer_to(QUERY, flags=0xA000), False, id="another opcode"),
        pytest.param(
            answer_to(query_to_resolver(on_wire("www.example.com"), A, 0x1234)),
            False,
            id="another name",
        ),
        pytest.param(
            answer_to(query_to_resolver(on_wire("api.example.com.evil"), A, 0x1234)),
            False,
            id="a longer name",
        ),
        pytest.param(answer_to(query_to_resolver(NAME, AAAA, 0x1234)), False, id="another type"),
        pytest.param(
            answer_to(query_to_resolver(NAME, 97, 0x1234)).replace(b"\0a\0\1", b"\0A\0\1"),
            False,
            id="another type, that differs as letters do by case",
        ),
        pytest.param(_without_question(dns.rcode.REFUSED), True, id="a refusal without a question"),
        pytest.param(_without_question(dns.rcode.NOERROR), False, id="a success without one"),
        pytest.param(_without_question(dns.rcode.NXDOMAIN), False, id="no such name, without one"),
        pytest.param(QUERY[:11], False, id="cut"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_only_an_answer_to_the_question_is_one(message: bytes, is_it: bool) -> None:
    assert is_answer(QUERY, message) is is_it


@contextlib.contextmanager
def resolver(answers: Callable[[bytes], list[bytes]]) -> Iterator[int]:
    """A resolver on the loopback that sends these datagrams for the queries that come."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind((HERE, 0))
        wire.setblocking(False)
        loop = asyncio.get_running_loop()

        def read() -> None:
            query, sender = wire.recvfrom(4096)
            for answer in answers(query):
                wire.sendto(answer, sender)

        loop.add_reader(wire, read)
        try:
            yield wire.getsockname()[1]
        finally:
            loop.remove_reader(wire)


async def test_what_is_no_answer_is_not_heard() -> None:
    def answers(query: bytes) -> list[bytes]:
        forged = bytes((query[0] ^ 1,)) + answer_to(query)[1:]
        other = answer_to(query).replace(b"api", b"www")
        return [forged, b"", other, answer_to(query)]

    with resolver(answers) as port:
        message = await exchange(HERE, port, NAME, A)
    assert dns.message.from_wire(message).question[0].name.to_text() == "api.example.com."


async def test_what_does_not_fit_into_a_datagram_is_asked_for_by_tcp() -> None:
    async with truncating(answer_to) as port:
        message = await exchange(HERE, port, NAME, A)
    assert not dns.message.from_wire(message).flags & dns.flags.TC


async def test_an_answer_to_another_question_by_tcp_is_none() -> None:
    async with truncating(lambda query: answer_to(query).replace(b"api", b"www")) as port:
        with pytest.raises(EOFError):
            await exchange(HERE, port, NAME, A)


async def test_a_resolver_that_is_not_there_sends_us_to_the_next() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HERE, 0))
        nobody = Resolver(HERE, taken.getsockname()[1])
    with resolver(lambda query: [answer_to(query)]) as port:
        # It refuses at once: our patience, which is all the time there is, is not lost on it.
        upstream = Upstream(lambda: (nobody, Resolver(HERE, port)), patience=5, total=5)
        assert (await upstream.ask(NAME, A)).code == dns.rcode.NOERROR


def test_resolvers_of_the_host_are_those_that_it_has_now(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    resolvers = ResolversOfHost(path)
    assert resolvers() == (), "there is none yet"

    path.write_text(
        "# by DHCP\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n"
    )
    assert resolvers() == (Resolver("192.0.2.1"), Resolver("fe80::1"))

    newer = tmp_path / "newer"
    newer.write_text("nameserver 192.0.2.2\nnameserver of-no-use\n")
    newer.replace(path)
    assert resolvers() == (Resolver("192.0.2.2"),)

    path.write_text("")
    assert resolvers() == (Resolver("192.0.2.2"),), "half-written, or the network is down"
    path.unlink()
    assert resolvers() == (Resolver("192.0.2.2"),)
