"""Says to who started the agent (systemd, Type=notify) that what it remembers is in force.

What is ordered after the agent starts then, and not before. sd_notify(3).
"""

import os
import socket
from collections.abc import Mapping

import structlog

_log = structlog.get_logger()


def tell_ready(environ: Mapping[str, str] = os.environ) -> None:
    """Tell whoever wants to know; else nobody. Raises nothing: what is in force is so untold."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as telling:
            telling.sendto(b"READY=1", address)
    except OSError as exc:
        _log.warning("readiness_not_told", to=address, error=str(exc))
