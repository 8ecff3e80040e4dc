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
import dns.rdatatype
import structlog

from boxwall_agent.dns.answer import FAILED, Answer, answer_of
from boxwall_agent.dns.replies import OUR_PAYLOAD

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_PATIENCE: Final = 1.5
"""Seconds for one resolver."""

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

    def __init__(self, resolvers: tuple[Resolver, ...]) -> None:
        self._resolvers = resolvers
        self._bad_until: dict[Resolver, float] = {}
        self._on_their_way = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, name_on_wire: bytes, kind: int) -> Answer:
        """Return the answer, or FAILED if none of them has one."""
        name, _ = dns.name.from_wire(name_on_wire, 0)
        query = dns.message.make_query(
            name, dns.rdatatype.RdataType.make(kind), use_edns=0, payload=OUR_PAYLOAD
        )
        answer = FAILED
        try:
            async with self._on_their_way, asyncio.timeout(_TOTAL):
                for resolver in self._in_order():
                    answer = await self._ask_one(resolver, query, name, kind)
                    if answer is not FAILED:
                        break
        except TimeoutError:
            return FAILED
        return answer

    def _in_order(self) -> list[Resolver]:
        now = time.monotonic()
        return sorted(self._resolvers, key=lambda one: self._bad_until.get(one, 0.0) > now)

    async def _ask_one(
        self, resolver: Resolver, query: dns.message.Message, name: dns.name.Name, kind: int
    ) -> Answer:
        query.id = dns.entropy.random_16()
        try:
            message, _ = await dns.asyncquery.udp_with_fallback(
                query,
                resolver.address,
                timeout=_PATIENCE,
                port=resolver.port,
                ignore_unexpected=True,
                ignore_errors=True,
            )
        except (OSError, EOFError, dns.exception.DNSException) as exc:
            self._bad_until[resolver] = time.monotonic() + _AVOIDED
            _log.warning("resolver_does_not_answer", resolver=str(resolver), error=repr(exc))
            return FAILED
        self._bad_until.pop(resolver, None)
        return answer_of(message, name, kind)
