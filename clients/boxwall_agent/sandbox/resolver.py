"""The resolver's configuration inside a sandbox, where the host's cannot work there. Pure.

A resolver on the host's loopback (systemd-resolved's stub) is not on that of the sandbox.
"""

from collections.abc import Iterable
from ipaddress import ip_address


def loopback_resolvers(text: str) -> list[str]:
    """Return the loopback addresses that a resolv.conf names."""
    return [server for server in _servers(text) if _is_loopback(server)]


def usable_inside(text: str, upstream: str, gateway: str) -> tuple[str, list[str]]:
    """Return a resolv.conf for inside, and the servers that it names.

    `upstream` is the text that systemd-resolved keeps of the servers behind it, "" if there is
    none; without any, `gateway` stands in: the node's agent answers whatever is asked.
    """
    candidates = [*_servers(text), *_servers(upstream)]
    servers = list(dict.fromkeys(one for one in candidates if not _is_loopback(one))) or [gateway]
    kept = [line for line in text.splitlines() if _word(line) in ("search", "domain", "options")]
    lines = ["# made by boxwall run", *kept, *(f"nameserver {server}" for server in servers[:3])]
    return "\n".join(lines) + "\n", servers[:3]


def _servers(text: str) -> Iterable[str]:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            yield words[1]


def _word(line: str) -> str:
    return (line.split() or [""])[0]


def _is_loopback(server: str) -> bool:
    try:
        address = ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
