"""Tracked connections as the kernel lists them in /proc/net/nf_conntrack. Pure.

One line for each, here in two:

    ipv4     2 tcp      6 299 ESTABLISHED src=10.77.1.2 dst=8.8.4.4 sport=40000 dport=443
        src=8.8.4.4 dst=45.0.0.1 sport=443 dport=40000 [ASSURED] mark=7 zone=0 use=2

The number of its protocol, the seconds that are left, of TCP its state; who opened it to whom; who
answers to whom. Source: linux/net/netfilter/nf_conntrack_standalone.c.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final

from boxwall.policy import Address
from boxwall_agent.audit import TCP_CLOSE, Connection
from boxwall_agent.packets import TCP, Ends

_TCP_STATES: Final = (
    *("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"),
    *("TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
"""In the order of TCP_CONNTRACK_*."""

_ENDS: Final = rb"src=(\S+) dst=(\S+) (?:sport=(\d+) dport=(\d+) )?"
_LINE: Final = re.compile(
    rb"ipv[46] +\d+ \S+ +(\d+) (\d+) (?:([A-Z_0-9]+) )?(?:timeout=\d+, stream_timeout=\d+ )?"
    + _ENDS
    + rb".*?"
    + _ENDS
    + rb".*?mark=(\d+) "
)
_SOURCE: Final = b" src="


def opened_by(
    sources: Collection[Address], listing: bytes, close_timeout: int
) -> Iterator[Connection]:
    """Yield the connections in a listing that these have opened.

    `close_timeout`: the seconds for which a connection is listed that was reset. Raises ValueError
    where it does not understand one of their lines: then nothing that it says is of use.
    """
    wanted = {_as_listed(source) for source in sources}
    for line in listing.splitlines():
        at = line.find(_SOURCE) + len(_SOURCE)
        if line[at : line.find(b" ", at)] in wanted:
            yield _connection(line, close_timeout)


def _connection(line: bytes, close_timeout: int) -> Connection:
    found = _LINE.match(line)
    if found is None:
        raise ValueError(f"no connection: {line!r}")
    protocol, left, state_name, *ends, mark = found.groups()
    opened, answers = _ends(ends[:4]), _ends(ends[4:])
    state = None
    if int(protocol) == TCP:
        state = _TCP_STATES.index((state_name or b"").decode())
    return Connection(
        source=opened.source,
        destination=opened.destination,
        protocol=int(protocol),
        source_port=opened.source_port,
        destination_port=opened.destination_port,
        mark=int(mark),
        tcp_state=state,
        closed_for=close_timeout - int(left) if state == TCP_CLOSE else None,
        answers=answers if ends[6] is not None else None,
    )


def _ends(found: list[bytes]) -> Ends:
    source, destination, *ports = found
    source_port, destination_port = (int(port or 0) for port in ports)
    return Ends(_address(source), source_port, _address(destination), destination_port)


def _address(text: bytes) -> Address:
    if b":" in text:
        return Address(6, int(text.replace(b":", b""), 16))
    return Address(4, int.from_bytes(map(int, text.split(b".")), "big"))


def _as_listed(address: Address) -> bytes:
    """IPv6 is listed with all its zeros."""
    if address.version == 4:
        return str(address).encode()
    return address.value.to_bytes(16, "big").hex(":", 2).encode()
