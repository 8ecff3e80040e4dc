"""One question to one resolver, and its answer as bytes.

By hand rather than by a library: each question takes a socket of its own, and what a library does
around that was half of the time. Only the records of an answer, which anybody may have made up, are
left to one.
"""

import asyncio
import secrets
import socket
import struct
from typing import Final

from boxwall_agent.dns.question import FORMERR, HEADER, IN, NOTIMP, OPT, REFUSED, SERVFAIL
from boxwall_agent.dns.replies import OUR_PAYLOAD

_HEAD: Final = struct.Struct(">HHHHHH")
_TAIL: Final = struct.Struct(">HH")
_OPT: Final = struct.pack(">BHHIH", 0, OPT, OUR_PAYLOAD, 0, 0)
_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_RECURSION: Final = 0x0100
_CODE: Final = 0x000F
_WITHOUT_QUESTION: Final = (FORMERR, SERVFAIL, NOTIMP, REFUSED)
"""Codes of resolvers that do not repeat what they did not understand."""

_MOST: Final = 65535


def query_to_resolver(name_on_wire: bytes, kind: int, number: int) -> bytes:
    """Return a query with this id."""
    head = _HEAD.pack(number, _RECURSION, 1, 0, 0, 1)
    return head + name_on_wire + _TAIL.pack(kind, IN) + _OPT


def is_answer(query: bytes, message: bytes) -> bool:
    """Whether a message answers a query of `query_to_resolver`: the same id and question."""
    if len(message) < HEADER:
        return False
    number, flags, questions, *_ = _HEAD.unpack_from(message)
    if number != _HEAD.unpack_from(query)[0] or flags & (_RESPONSE | _OPCODE) != _RESPONSE:
        return False
    if questions == 0:
        return flags & _CODE in _WITHOUT_QUESTION
    end = len(query) - len(_OPT)
    name, tail = slice(HEADER, end - _TAIL.size), slice(end - _TAIL.size, end)
    return (
        questions == 1
        and message[name].lower() == query[name].lower()
        and message[tail] == query[tail]
    )


async def exchange(address: str, port: int, name_on_wire: bytes, kind: int) -> bytes:
    """Ask by a datagram, and by TCP when the answer does not fit into one; return the answer.

    What is not the answer is not heard: another sender, id or question. Waits for ever; raises
    OSError or EOFError.
    """
    query = query_to_resolver(name_on_wire, kind, secrets.randbits(16))
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as wire:
        # Connected, with a port that the kernel draws: the kernel drops what others send.
        wire.connect((address, port))
        wire.send(query)
        while not is_answer(query, message := await loop.sock_recv(wire, _MOST)):
            pass
    if message[2] << 8 & _TRUNCATED:
        return await _by_stream(address, port, query)
    return message


async def _by_stream(address: str, port: int, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        message = await reader.readexactly(size)
    finally:
        writer.close()
    if not is_answer(query, message):
        raise EOFError("the answer is to another question")
    return message
