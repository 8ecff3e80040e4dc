"""The agent's settings on a command line. `boxwall agent` and `boxwall up` share them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from boxwall.cli.duration import parse_duration
from boxwall.policy import Address, Network
from boxwall.sdk.endpoint import Endpoint
from boxwall_agent.config import (
    DEFAULT_HTTP_PORTS,
    DEFAULT_SOCKET,
    AgentConfig,
    default_node_id,
    default_state_dir,
)
from boxwall_agent.dns.question import NXDOMAIN, REFUSED
from boxwall_agent.dns.session import Limits
from boxwall_agent.dns.upstream import Resolver
from boxwall_agent.leases import LeaseBounds
from boxwall_agent.nft.layout import PerBox

_REFUSALS: Final = {"NXDOMAIN": NXDOMAIN, "REFUSED": REFUSED}
_LONGEST_GRACE: Final = 3600.0
_MOST_QUERIES: Final = 1_000_000_000
"""What the kernel can count in a second."""


C = TypeVar("C", bound=Callable[..., Any])


def option(flag: str, text: str, **more: Any) -> Callable[[C], C]:
    """Return an option that is also an environment variable."""
    variable = "BOXWALL_" + flag.removeprefix("--").upper().replace("-", "_")
    return click.option(flag, envvar=variable, help=text, **more)


AGENT_OPTIONS: Final = (
    option("--node-id", "This node's id at the control plane.  [default: the host's name]"),
    option(
        "--state-dir",
        "Where attachments and policies are remembered.",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_state_dir,
        show_default="/var/lib/boxwall",
    ),
    option(
        "--agent-socket",
        "Unix socket for programs on this node.",
        type=click.Path(path_type=Path, dir_okay=False),
        default=DEFAULT_SOCKET,
        show_default=True,
    ),
    option("--blocked-cidr", "Never reachable, whatever a policy says.", multiple=True),
    option("--node-address", "One more address of this node, never reachable.", multiple=True),
    option("--inbound-from", "Who may open connections towards boxes.", multiple=True),
    option("--max-stale", "Deny everything after so long without the control plane."),
    option(
        "--dns-upstream",
        "ADDR or ADDR:PORT of a name server to ask.  [default: those in /etc/resolv.conf]",
        multiple=True,
    ),
    option(
        "--dns-refuse-with",
        "How a name that is not allowed is answered.",
        type=click.Choice(list(_REFUSALS)),
        default="NXDOMAIN",
        show_default=True,
    ),
    option(
        "--dns-queries",
        "A box's queries a second.",
        type=click.FloatRange(1),
        default=Limits().queries,
        show_default=True,
    ),
    option(
        "--shortest-lease",
        "How long an address is reachable by its name at least, however short its TTL.",
        default="5s",
        show_default=True,
    ),
    option(
        "--longest-lease",
        "How long at most, however long its TTL.",
        default="1h",
        show_default=True,
    ),
    option(
        "--leases-per-name",
        "Addresses of one name that a box may hold.",
        type=click.IntRange(1),
        default=LeaseBounds().of_a_name,
        show_default=True,
    ),
    option(
        "--leases-per-box",
        "Addresses of all names that a box may hold.",
        type=click.IntRange(1),
        default=LeaseBounds().of_a_box,
        show_default=True,
    ),
    option(
        "--lease-grace",
        "How much longer than its TTL an address is reachable by its name, at most 1h.",
        default="5m",
        show_default=True,
    ),
    option(
        "--http-port",
        "A port on which clear HTTP to names is relayed.",
        type=click.IntRange(1, 65535),
        multiple=True,
        default=DEFAULT_HTTP_PORTS,
        show_default=True,
    ),
    option(
        "--new-connections",
        "A box's new connections a second.",
        type=click.IntRange(1),
        default=PerBox().new_connections,
        show_default=True,
    ),
    option(
        "--connections",
        "A box's tracked connections at one time.  [default: a quarter of nf_conntrack_max]",
        type=click.IntRange(1),
    ),
)
"""What `boxwall agent` and `boxwall up` both take."""


AGENT_KEYS: Final = (
    "node_id",
    "state_dir",
    "agent_socket",
    "blocked_cidr",
    "node_address",
    "inbound_from",
    "max_stale",
    "dns_upstream",
    "dns_refuse_with",
    "dns_queries",
    "shortest_lease",
    "longest_lease",
    "leases_per_name",
    "leases_per_box",
    "lease_grace",
    "http_port",
    "new_connections",
    "connections",
)
"""Their names as parameters."""


def agent_options(command: C) -> C:
    """Give a command the options of the agent."""
    for one in reversed(AGENT_OPTIONS):
        command = one(command)
    return command


def agent_config(
    settings: dict[str, Any], server: Endpoint, metrics_listen: tuple[str, int] | None = None
) -> AgentConfig:
    """Return the settings as a value. Raises EntryError or ValueError."""
    stale = settings["max_stale"]
    return AgentConfig(
        endpoint=server,
        node_id=settings["node_id"] or default_node_id(),
        state_dir=settings["state_dir"],
        agent_socket=settings["agent_socket"],
        blocked=tuple(map(Network.parse, settings["blocked_cidr"])),
        node_addresses=frozenset(map(Address.parse, settings["node_address"])),
        inbound_from=tuple(map(Network.parse, settings["inbound_from"])),
        max_stale=parse_duration(stale) if stale else None,
        metrics_listen=metrics_listen,
        per_box=PerBox(
            new_connections=settings["new_connections"],
            connections=settings["connections"],
            queries=int(min(2 * settings["dns_queries"], _MOST_QUERIES)),
        ),
        resolvers=tuple(map(Resolver.parse, settings["dns_upstream"])) or None,
        http_ports=tuple(settings["http_port"]),
        dns=Limits(
            shortest_lease=parse_duration(settings["shortest_lease"]),
            longest_lease=parse_duration(settings["longest_lease"]),
            queries=settings["dns_queries"],
            grace=min(parse_duration(settings["lease_grace"]), _LONGEST_GRACE),
            refuse_with=_REFUSALS[settings["dns_refuse_with"]],
        ),
        leases=LeaseBounds(
            of_a_box=settings["leases_per_box"], of_a_name=settings["leases_per_name"]
        ),
    )
