"""Asks the resolvers that an operator named, or those of the host."""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import dns.exception
import dns.message
import dns.name
import structlog

from boxwall_agent.dns.answer import FAILED, Answer, answer_of, shortened
from boxwall_agent.dns.exchange import exchange

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_PATIENCE: Final = 1.5
"""Seconds for one resolver, until the next is asked, or the same again."""

_ROUNDS: Final = 3
"""A datagram may be lost, and a resolver may look for longer than our patience: it has the answer
ready when it is asked again."""

_PAUSE: Final = 0.2
"""Seconds until all are asked again: one that is being started refuses at once."""

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


Resolvers: TypeAlias = Callable[[], tuple[Resolver, ...]]
"""Those to be asked now, in this order."""


class ResolversOfHost:
    """Those in resolv.conf, read again when it changes, as it does with the host's network.

    One that cannot be read, or names none, leaves those before it.
    """

    def __init__(self, path: Path = _RESOLV_CONF) -> None:
        self._path = path
        self._version: tuple[int, ...] = ()
        self._resolvers: tuple[Resolver, ...] = ()

    def __call__(self) -> tuple[Resolver, ...]:
        """Return them as they are now."""
        try:
            found = self._path.stat()
        except OSError:
            return self._resolvers
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._version:
            self._version = version
            self._resolvers = _read_resolvers(self._path) or self._resolvers
        return self._resolvers


def _read_resolvers(path: Path) -> tuple[Resolver, ...]:
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
        self,
        resolvers: Resolvers,
        *,
        patience: float = _PATIENCE,
        total: float = _TOTAL,
    ) -> None:
        """`patience`: seconds for one of them; `total`: for all."""
        self._resolvers = resolvers
        self._patience = patience
        self._total = total
        self._bad_until: dict[Resolver, float] = {}
        self._on_their_way = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, name_on_wire: bytes, kind: int) -> Answer:
        """Return the answer, or FAILED if none of them has one."""
        try:
            async with asyncio.timeout(self._total), self._on_their_way:
                return await self._ask_all(name_on_wire, kind)
        except TimeoutError:
            return FAILED

    async def _ask_all(self, name_on_wire: bytes, kind: int) -> Answer:
        """An answer that is none, such as SERVFAIL, sends us to the next one, but not round."""
        for round_number in range(_ROUNDS):
            if round_number:
                await asyncio.sleep(_PAUSE)
            heard = False
            for resolver in self._in_order():
                answer = await self._ask_one(resolver, name_on_wire, kind)
                heard = heard or answer is not None
                if answer is not None and answer is not FAILED:
                    return answer
            if heard:
                break
        return FAILED

    def _in_order(self) -> list[Resolver]:
        return sorted(self._resolvers(), key=self._is_bad)

    def _is_bad(self, resolver: Resolver) -> bool:
        return self._bad_until.get(resolver, 0.0) > time.monotonic()

    async def _ask_one(self, resolver: Resolver, name_on_wire: bytes, kind: int) -> Answer | None:
        """None: it does not answer, and will be asked last for a while."""
        try:
            async with asyncio.timeout(self._patience):
                data = await exchange(resolver.address, resolver.port, name_on_wire, kind)
            message = dns.message.from_wire(shortened(data))
        except (OSError, EOFError, dns.exception.DNSException) as exc:
            if not self._is_bad(resolver):
                _log.warning("resolver_does_not_answer", resolver=str(resolver), error=repr(exc))
            self._bad_until[resolver] = time.monotonic() + _AVOIDED
            return None
        self._bad_until.pop(resolver, None)
        name, _ = dns.name.from_wire(name_on_wire, 0)
        return answer_of(message, name, kind)
