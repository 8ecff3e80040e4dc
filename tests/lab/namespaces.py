"""Network namespaces of a test, joined by veth pairs, and gone when it ends."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute, netns

_SIOCETHTOOL: Final = 0x8946
_ETHTOOL_STXCSUM: Final = 0x17


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Sockets that this thread opens belong to the namespace. Only the thread is moved."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        netns.setns(name)
        yield
    finally:
        netns.setns(before)
        with contextlib.suppress(OSError):
            os.close(before)


class Namespace:
    """A host on the test's own network."""

    def __init__(self, name: str) -> None:
        self.name = name
        netns.create(name)
        with self.netlink() as link:
            link.link("set", index=1, state="up")

    @property
    def path(self) -> str:
        """The file that stands for the namespace."""
        return f"/var/run/netns/{self.name}"

    @contextlib.contextmanager
    def netlink(self) -> Iterator[IPRoute]:
        """Netlink inside. Not from a thread that runs an event loop."""
        with IPRoute(netns=self.name) as link:
            yield link

    def set_kernel(self, **settings: str) -> None:
        """Write sysctls below net; `__` in a keyword stands for the dot between its parts."""
        with inside(self.name):
            for key, value in settings.items():
                Path("/proc/sys/net", key.replace("__", "/")).write_text(value)

    def index_of(self, interface: str) -> int:
        """The index of an interface."""
        with self.netlink() as link:
            return int(link.link_lookup(ifname=interface)[0])

    def mac_of(self, interface: str) -> bytes:
        """The hardware address of an interface."""
        with self.netlink() as link:
            (found,) = link.get_links(ifname=interface)
            return bytes.fromhex(found.get("address").replace(":", ""))

    def close(self) -> None:
        """Remove the namespace with its interfaces."""
        with contextlib.suppress(FileNotFoundError):
            netns.remove(self.name)


def join(one: Namespace, name: str, other: Namespace, other_name: str) -> None:
    """Make a veth pair, one end in each namespace, both up."""
    with one.netlink() as link:
        link.link(
            "add",
            kind="veth",
            ifname=name,
            peer={"ifname": other_name, "net_ns_fd": other.path},
        )
    for place, interface in ((one, name), (other, other_name)):
        # No duplicate address detection: addresses are to be used at once. No offloads are set, so
        # that what arrives is what was sent.
        place.set_kernel(**{f"ipv6__conf__{interface}__accept_dad": "0"})
        with place.netlink() as link:
            link.link("set", index=link.link_lookup(ifname=interface)[0], state="up")


def add_address(place: Namespace, interface: str, *addresses: str) -> None:
    """Add addresses with prefix lengths."""
    with place.netlink() as link:
        index = link.link_lookup(ifname=interface)[0]
        for address in addresses:
            link.addr("add", index=index, address=address)


def add_route(place: Namespace, to: str, via: str) -> None:
    """Add a route."""
    with place.netlink() as link:
        link.route("add", dst=to, gateway=via)


def know_neighbour(place: Namespace, interface: str, address: str, mac: bytes) -> None:
    """Make a neighbour entry that needs no asking, so that no first packet is lost."""
    with place.netlink() as link:
        index = link.link_lookup(ifname=interface)[0]
        link.neigh("replace", dst=address, lladdr=mac.hex(":"), ifindex=index, state="permanent")


def without_checksum_offload(place: Namespace, interface: str) -> None:
    """Have the kernel write checksums that were left to the interface, as a network card would. A
    veth passes them on as they are, and its other end believes them.
    """
    wanted = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), ctypes.addressof(wanted)) + bytes(16)
    with inside(place.name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCETHTOOL, request)
