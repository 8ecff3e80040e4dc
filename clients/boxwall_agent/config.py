"""What an operator can set, as a frozen value."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from boxwall.policy import Address, Network
from boxwall.sdk.endpoint import Endpoint
from boxwall.sdk.resume import SILENCE
from boxwall.unix_sockets import path_problem
from boxwall_agent.dns.session import Limits
from boxwall_agent.dns.upstream import Resolver
from boxwall_agent.leases import LeaseBounds
from boxwall_agent.nft.layout import PerBox

DEFAULT_SOCKET: Final = Path("/run/boxwall/agent.sock")
DEFAULT_METRICS_LISTEN: Final = "127.0.0.1:9465"
DEFAULT_HTTP_PORTS: Final = (80, 8080)
STATE_FILE: Final = "agent.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """See `boxwall agent --help`. Raises ValueError for what cannot be."""

    endpoint: Endpoint
    node_id: str
    state_dir: Path
    agent_socket: Path = DEFAULT_SOCKET
    blocked: tuple[Network, ...] = ()
    node_addresses: frozenset[Address] = frozenset()
    inbound_from: tuple[Network, ...] = ()
    max_stale: float | None = None
    """Seconds; None: never."""
    metrics_listen: tuple[str, int] | None = None
    per_box: PerBox = field(default_factory=PerBox)
    resolvers: tuple[Resolver, ...] | None = None
    """None: those of the host."""
    http_ports: tuple[int, ...] = DEFAULT_HTTP_PORTS
    """Where clear HTTP to names is relayed."""
    dns: Limits = field(default_factory=Limits)
    leases: LeaseBounds = field(default_factory=LeaseBounds)

    def __post_init__(self) -> None:
        problem = path_problem(self.agent_socket)
        if problem is not None:
            raise ValueError(problem)
        if self.max_stale is not None and self.max_stale < SILENCE:
            raise ValueError(
                f"--max-stale {self.max_stale:g}s is shorter than the {SILENCE:g} s for which a "
                "control plane may say nothing; use 30s or more"
            )


def default_state_dir() -> Path:
    """/var/lib/boxwall as root, else under the user's home."""
    if os.geteuid() == 0:
        return Path("/var/lib/boxwall")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base, "boxwall")


def default_node_id() -> str:
    """The host's name."""
    return socket.gethostname().lower()


def parse_metrics_listen(text: str) -> tuple[str, int] | None:
    """Read HOST:PORT, or "off" as None. Raises ValueError."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!a} is not HOST:PORT, nor off")
    return host.removeprefix("[").removesuffix("]"), int(port)
