"""Asks the resolvers that an operator named, or those of the host."""

import asyncio
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.asyncquery
import dns.entropy
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import structlog

from boxwall_agent.dns.answer import FAILED, Answer, answer_of, shortened
from boxwall_agent.dns.replies import OUR_PAYLOAD

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_PATIENCE: Final = 1.5
"""Seconds for one resolver, until the next is asked, or the same again."""

_ROUNDS: Final = 3
"""A datagram may be lost, and a resolver may look for longer than our patience: it has the answer
ready when it is asked again."""

_TOTAL: Final = 5.0
"""Seconds for all of them."""

_AVOIDED: Final = 10.0
"""Seconds for which one that did not answer is asked last."""

_AT_ONCE: Final = 1000
"""Questions on their way."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resolver:
    """Where to ask."""

    address: str
    port: int = 53

    @classmethod
    def parse(cls, text: str) -> "Resolver":
        """Read ADDR, ADDR:PORT or [ADDR]:PORT. Raises ValueError."""
        address, port = text, "53"
        if text.startswith("["):
            address, _, rest = text[1:].partition("]")
            port = rest.removeprefix(":") or "53"
        elif text.count(":") == 1:
            address, _, port = text.partition(":")
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!a} is not ADDR or ADDR:PORT of a name server")
        try:
            return cls(str(ipaddress.ip_address(address)), int(port))
        except ValueError:
            raise ValueError(f"{text!a} is not ADDR or ADDR:PORT of a name server") from None

    def __str__(self) -> str:
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else f"{self.address}:{self.port}"
        )


def resolvers_of_host(path: Path = _RESOLV_CONF) -> tuple[Resolver, ...]:
    """Return those in resolv.conf; none if it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ()
    found = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                found.append(Resolver.parse(words[1].partition("%")[0]))
            except ValueError:
                _log.warning("resolver_not_understood", line=line)
    return tuple(found)


class Upstream:
    """All of them, those first that did not fail just now. Each question has an id and a port of
    its own.
    """

    def __init__(
        self, resolvers: tuple[Resolver, ...], *, patience: float = _PATIENCE, total: float = _TOTAL
    ) -> None:
        """`patience`: seconds for one of them; `total`: for all."""
        self._resolvers = resolvers
        self._patience = patience
        self._total = total
        self._bad_until: dict[Resolver, float] = {}
        self._on_their_way = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, name_on_wire: bytes, kind: int) -> Answer:
        """Return the answer, or FAILED if none of them has one."""
        name, _ = dns.name.from_wire(name_on_wire, 0)
        query = dns.message.make_query(
            name, dns.rdatatype.RdataType.make(kind), use_edns=0, payload=OUR_PAYLOAD
        )
        try:
            async with asyncio.timeout(self._total), self._on_their_way:
                return await self._ask_all(query, name, kind)
        except TimeoutError:
            return FAILED

    async def _ask_all(self, query: dns.message.Message, name: dns.name.Name, kind: int) -> Answer:
        """An answer that is none, such as SERVFAIL, sends us to the next one, but not round."""
        for _ in range(_ROUNDS):
            heard = False
            for resolver in self._in_order():
                message = await self._ask_one(resolver, query)
                heard = heard or message is not None
                answer = FAILED if message is None else answer_of(message, name, kind)
                if answer is not FAILED:
                    return answer
            if heard:
                break
        return FAILED

    def _in_order(self) -> list[Resolver]:
        return sorted(self._resolvers, key=self._is_bad)

    def _is_bad(self, resolver: Resolver) -> bool:
        return self._bad_until.get(resolver, 0.0) > time.monotonic()

    async def _ask_one(
        self, resolver: Resolver, query: dns.message.Message
    ) -> dns.message.Message | None:
        """None: it does not answer, and will be asked last for a while."""
        query.id = dns.entropy.random_16()
        try:
            async with asyncio.timeout(self._patience):
                message = await _exchange(resolver, query)
        except (OSError, EOFError, dns.exception.DNSException) as exc:
            if not self._is_bad(resolver):
                _log.warning("resolver_does_not_answer", resolver=str(resolver), error=repr(exc))
            self._bad_until[resolver] = time.monotonic() + _AVOIDED
            return None
        self._bad_until.pop(resolver, None)
        return message


async def _exchange(resolver: Resolver, query: dns.message.Message) -> dns.message.Message:
    """By a datagram; and when the answer does not fit into one, by TCP. What is not the answer is
    not heard: another sender, id or question.
    """
    try:
        return await dns.asyncquery.udp(
            query,
            resolver.address,
            port=resolver.port,
            ignore_unexpected=True,
            ignore_errors=True,
            raise_on_truncation=True,
        )
    except dns.message.Truncated:
        return await _exchange_by_stream(resolver, query)


async def _exchange_by_stream(
    resolver: Resolver, query: dns.message.Message
) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(resolver.address, resolver.port)
    try:
        writer.write(query.to_wire(prepend_length=True))
        size = int.from_bytes(await reader.readexactly(2), "big")
        message = dns.message.from_wire(shortened(await reader.readexactly(size)))
    finally:
        writer.close()
    if not query.is_response(message):
        raise dns.query.BadResponse
    return message
