"""The link of a sandbox, and what the host needs to forward for it.

By netlink through pyroute2: every call blocks.
"""

import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from boxwall_agent.netns import inside
from boxwall_agent.sandbox.addresses import LinkNetwork, Net, choose, route_network
from boxwall_agent.sandbox.errors import CannotSandbox

INSIDE: Final = "eth0"
"""The sandbox's end."""

_UNICAST: Final = 1
"""RTN_UNICAST."""

_MAIN_TABLE: Final = 254
_NO_DAD: Final = 0x02
"""IFA_F_NODAD: the link is new, and nobody else is on it."""

_FROM_ROUTER: Final = 9
"""RTPROT_RA: a route that a router advertised, or the kernel made for one."""

_SYSCTL: Final = Path("/proc/sys/net")
_FORWARD4: Final = "ipv4/ip_forward"
_FORWARD6: Final = "ipv6/conf/all/forwarding"

Say = Callable[[str], None]
"""Tells the user something, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """Where the host's own packets go."""

    routed: tuple[Net, ...]
    """All it has routes to, its own addresses among them."""
    has_ipv6: bool
    """Whether it has a default route for it."""
    mtu: int | None
    """The smallest of the links with a default route."""
    advertised: tuple[str, ...]
    """Links whose IPv6 default route a router advertised."""


def uplink() -> Uplink:
    """Look at the host's routes."""
    with IPRoute() as link:
        routes = [one for one in link.get_routes() if one["family"] in _FAMILIES]
        links = {one["index"]: one for one in link.get_links()}
    defaults = [
        one
        for one in routes
        if one["dst_len"] == 0 and one["type"] == _UNICAST and one["table"] == _MAIN_TABLE
    ]
    through = {index for one in defaults for index in _ways(one) if index in links}
    advertised = {
        links[index].get("ifname")
        for one in defaults
        if one["family"] == socket.AF_INET6 and one["proto"] in (2, _FROM_ROUTER)
        for index in _ways(one)
        if index in links
    }
    return Uplink(
        routed=tuple(
            route_network(one.get("dst"), one["dst_len"]) for one in routes if one.get("dst")
        ),
        has_ipv6=any(one["family"] == socket.AF_INET6 for one in defaults),
        mtu=min((int(links[index].get("mtu")) for index in through), default=None),
        advertised=tuple(sorted(advertised)),
    )


def make_link(name: str, alias: str, pid: int, host: Uplink) -> tuple[LinkNetwork, ...]:
    """Make the link into the namespace of process `pid`, with addresses and routes; return them.

    Raises CannotSandbox, having left nothing.
    """
    networks = choose(host.routed, with_ipv6=host.has_ipv6, draw=secrets.randbelow)
    size = {} if host.mtu is None else {"mtu": host.mtu}
    try:
        with IPRoute() as link:
            peer = {"ifname": INSIDE, "net_ns_pid": pid, **size}
            link.link("add", ifname=name, kind="veth", peer=peer, **size)
            index = _index(link, name)
            link.link("set", index=index, ifalias=alias)
            _address(link, index, [(one.host, one.plen) for one in networks])
            link.link("set", index=index, state="up")
        inside(f"/proc/{pid}/ns/net", lambda: _set_up_inside(networks))
    except NetlinkError as exc:
        remove_link(name, alias)
        raise CannotSandbox(f"the link of the sandbox cannot be made: {exc.args[-1]}") from exc
    return networks


def _set_up_inside(networks: tuple[LinkNetwork, ...]) -> None:
    with IPRoute() as link:
        link.link("set", index=_index(link, "lo"), state="up")
        index = _index(link, INSIDE)
        _address(link, index, [(one.box, one.plen) for one in networks])
        link.link("set", index=index, state="up")
        for one in networks:
            link.route("add", dst=one.everything, gateway=one.host, oif=index)


def remove_link(name: str, alias: str) -> None:
    """Remove a link that has this name and alias, if there is one; both ends go."""
    with IPRoute() as link, contextlib.suppress(NetlinkError):
        for one in link.get_links(ifname=name):
            if one.get("ifalias") == alias:
                link.link("del", index=one["index"])


def forward(host: Uplink, say: Say) -> None:
    """Let the host forward what its boxes send. Raises CannotSandbox."""
    _switch_on(_FORWARD4, say)
    if not host.has_ipv6 or _read(_FORWARD6) == "1":
        return
    for name in host.advertised:
        # A host that forwards ignores advertisements, and would lose its default route.
        accept = f"ipv6/conf/{name}/accept_ra"
        if _read(accept) == "1":
            _write(accept, "2")
            say(f"net.{_dotted(accept)} was 1 and is 2 from now on: the default route needs it")
    _switch_on(_FORWARD6, say)


def _switch_on(key: str, say: Say) -> None:
    if _read(key) != "1":
        _write(key, "1")
        say(f"net.{_dotted(key)} was 0 and is 1 from now on: boxes need a host that forwards")


def _read(key: str) -> str:
    try:
        return (_SYSCTL / key).read_text().strip()
    except OSError:
        return ""


def _write(key: str, value: str) -> None:
    try:
        (_SYSCTL / key).write_text(value)
    except OSError as exc:
        raise CannotSandbox(
            f"net.{_dotted(key)} must be {value}, and cannot be set here ({exc.strerror}); "
            f"set it where you can: sysctl -w net.{_dotted(key)}={value}"
        ) from exc


def _dotted(key: str) -> str:
    return key.replace("/", ".")


def _index(link: IPRoute, name: str) -> int:
    return int(link.link_lookup(ifname=name)[0])


def _address(link: IPRoute, index: int, addresses: list[tuple[str, int]]) -> None:
    for address, plen in addresses:
        more: dict[str, Any] = {"flags": _NO_DAD} if ":" in address else {}
        link.addr("add", index=index, address=address, prefixlen=plen, **more)


def _ways(route: Any) -> Iterator[int]:
    """The links that a route uses: one, or several with weights."""
    if route.get("oif") is not None:
        yield int(route.get("oif"))
    for hop in route.get("multipath") or ():
        yield int(hop["oif"])


_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
