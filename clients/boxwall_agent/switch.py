"""The last resort: taking an interface down, by a call that needs no memory from the kernel."""

import fcntl
import socket
import struct
from typing import Final

import structlog

from boxwall_agent.ruleset import Interface

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_REQUEST: Final = struct.Struct("16sH22x")
"""struct ifreq with flags."""

_log = structlog.get_logger()


class LinkSwitch:
    """Holds the socket that it needs, so that it works when nothing more can be opened."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def cut(self, interface: Interface) -> None:
        """Take the interface down. Raises nothing: there is nothing left to do."""
        try:
            request = _REQUEST.pack(interface.name.encode(), 0)
            _, flags = _REQUEST.unpack(fcntl.ioctl(self._socket, _SIOCGIFFLAGS, request))
            down = _REQUEST.pack(interface.name.encode(), flags & ~_IFF_UP)
            fcntl.ioctl(self._socket, _SIOCSIFFLAGS, down)
            _log.error("interface_taken_down", interface=interface.name)
        except OSError as exc:
            _log.critical("interface_still_up", interface=interface.name, error=str(exc))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
