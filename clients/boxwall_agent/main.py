"""`boxwall agent`: from the command line to a running agent."""

import asyncio
import os
import signal
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import structlog

from boxwall.cli.duration import parse_duration
from boxwall.logs import LEVELS, configure_logs
from boxwall.policy import Address, EntryError, Network
from boxwall.sdk.endpoint import endpoint
from boxwall.sdk.errors import BadConfig
from boxwall_agent.app import App, running
from boxwall_agent.config import (
    DEFAULT_METRICS_LISTEN,
    DEFAULT_SOCKET,
    AgentConfig,
    default_node_id,
    default_state_dir,
    parse_metrics_listen,
)
from boxwall_agent.errors import AgentError
from boxwall_agent.nft.layout import PerBox

_CANNOT_START: Final = 1
_USAGE: Final = 2
_CLIENT_KEYS: Final = {"output", "timeout"}

_log = structlog.get_logger()
C = TypeVar("C", bound=Callable[..., Any])


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise click.BadParameter(f"{path}: {exc}") from exc
    values = {key.replace("-", "_"): value for key, value in values.items()}
    known = {parameter.name for parameter in context.command.params}
    unknown = sorted(values.keys() - known - _CLIENT_KEYS)
    if unknown:
        raise click.BadParameter(f"{path}: unknown keys: {', '.join(unknown)}")
    context.default_map = {**(context.default_map or {}), **values}


def _option(flag: str, text: str, **more: Any) -> Callable[[C], C]:
    variable = "BOXWALL_" + flag.removeprefix("--").upper().replace("-", "_")
    return click.option(flag, envvar=variable, help=text, **more)


AGENT_OPTIONS: Final = (
    _option("--node-id", "This node's id at the control plane.  [default: the host's name]"),
    _option(
        "--state-dir",
        "Where attachments and policies are remembered.",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_state_dir,
        show_default="/var/lib/boxwall",
    ),
    _option(
        "--agent-socket",
        "Unix socket for programs on this node.",
        type=click.Path(path_type=Path, dir_okay=False),
        default=DEFAULT_SOCKET,
        show_default=True,
    ),
    _option("--blocked-cidr", "Never reachable, whatever a policy says.", multiple=True),
    _option("--node-address", "One more address of this node, never reachable.", multiple=True),
    _option("--inbound-from", "Who may open connections towards boxes.", multiple=True),
    _option("--max-stale", "Deny everything after so long without the control plane."),
    _option(
        "--new-connections",
        "A box's new connections a second.",
        type=click.IntRange(1),
        default=PerBox().new_connections,
        show_default=True,
    ),
)
"""What `boxwall agent` and `boxwall up` both take."""


def agent_options(command: C) -> C:
    """Give a command the options of the agent."""
    for option in reversed(AGENT_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    envvar="BOXWALL_CONFIG",
    help="TOML file with these settings; keys are the names of the flags.",
)
@_option("--server", "HOST:PORT or unix:PATH of the control plane.  [default: localhost:50051]")
@_option("--token", "Who is calling. Better in BOXWALL_TOKEN.")
@_option("--tls-ca", "Encrypt, and trust these certificates (PEM), or: system.")
@agent_options
@_option(
    "--metrics-listen",
    "HOST:PORT for /metrics and /healthz over HTTP, or off.",
    default=DEFAULT_METRICS_LISTEN,
    show_default=True,
)
@_option(
    "--log-level",
    "Least severe event that is logged.",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
)
@_option(
    "--log-format",
    "auto: text on a terminal, else JSON.",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
)
def agent(**settings: Any) -> None:
    """Enforce the policies of the boxes on this node, until interrupted.

    Needs Linux with nf_tables, and root or CAP_NET_ADMIN and CAP_NET_RAW. What is in force stays in
    force when the agent ends.
    """
    log_format = settings.pop("log_format")
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    configure_logs(settings.pop("log_level"), as_json=as_json)
    try:
        config = agent_config(settings)
        asyncio.run(_run(config))
    except (BadConfig, EntryError, ValueError) as exc:
        _fail(str(exc), _USAGE)
    except AgentError as exc:
        _fail(str(exc), _CANNOT_START)


def agent_config(settings: dict[str, Any]) -> AgentConfig:
    """Return the settings as a value. Raises BadConfig, EntryError or ValueError."""
    stale = settings["max_stale"]
    return AgentConfig(
        endpoint=endpoint(
            settings["server"], settings["token"], settings["tls_ca"], environ=os.environ
        ),
        node_id=settings["node_id"] or default_node_id(),
        state_dir=settings["state_dir"],
        agent_socket=settings["agent_socket"],
        blocked=tuple(map(Network.parse, settings["blocked_cidr"])),
        node_addresses=frozenset(map(Address.parse, settings["node_address"])),
        inbound_from=tuple(map(Network.parse, settings["inbound_from"])),
        max_stale=parse_duration(stale) if stale else None,
        metrics_listen=parse_metrics_listen(settings["metrics_listen"]),
        per_box=PerBox(new_connections=settings["new_connections"]),
    )


async def _run(config: AgentConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as app:
        say_enforcing(app)
        await stop.wait()
    _log.info("stopped", note="what is in force stays in force")


def say_enforcing(app: App) -> None:
    """Say that the node enforces, and where to ask."""
    click.echo(f"boxwall enforces on node {app.config.node_id} ({app.config.agent_socket})")


def _fail(message: str, status: int) -> None:
    click.echo(f"boxwall: {message}", err=True)
    sys.exit(status)
