"""`boxwall agent`: from the command line to a running agent."""

import asyncio
import os
import resource
import signal
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import click
import structlog

from boxwall.logs import LEVELS, configure_logs
from boxwall.policy import EntryError
from boxwall.sdk.endpoint import endpoint
from boxwall.sdk.errors import BadConfig
from boxwall_agent.app import App, running
from boxwall_agent.config import DEFAULT_METRICS_LISTEN, AgentConfig, parse_metrics_listen
from boxwall_agent.errors import AgentError
from boxwall_agent.options import agent_config, agent_options, option
from boxwall_agent.readiness import tell_ready

_CANNOT_START: Final = 1
_USAGE: Final = 2
_CLIENT_KEYS: Final = {"as_tenant", "output", "timeout"}

_log = structlog.get_logger()


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
@option(
    "--server",
    "HOST:PORT or unix:PATH of the control plane; IP:PORT,IP:PORT for several servers on one "
    "database, or a name that DNS has all their addresses for.  [default: localhost:50051]",
)
@option("--token", "Who is calling. Better in BOXWALL_TOKEN.")
@option("--token-file", "File that holds the token, instead of --token; read again each time.")
@option("--tls-ca", "Encrypt, and trust these certificates (PEM), or: system.")
@option("--tls-cert", "Certificate that names this node (PEM); read again when it is renewed.")
@option("--tls-key", "Its private key (PEM).")
@agent_options
@option(
    "--metrics-listen",
    "HOST:PORT for /metrics, /healthz and /readyz over HTTP, or off.",
    default=DEFAULT_METRICS_LISTEN,
    show_default=True,
)
@option(
    "--log-level",
    "Least severe event that is logged.",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
)
@option(
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
    _allow_many_files()
    try:
        server = endpoint(
            settings["server"],
            settings["token"],
            settings["tls_ca"],
            cert=settings["tls_cert"],
            key=settings["tls_key"],
            token_file=settings["token_file"],
            environ=os.environ,
        )
        config = agent_config(settings, server, parse_metrics_listen(settings["metrics_listen"]))
        asyncio.run(_run(config))
    except (BadConfig, EntryError, ValueError) as exc:
        _fail(str(exc), _USAGE)
    except AgentError as exc:
        _fail(str(exc), _CANNOT_START)


def _allow_many_files() -> None:
    """Each question to a name server is a file, and each relayed connection two: 1,024, which is
    usual, one box can have alone. The most that the system lets us have is more.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(config: AgentConfig) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config) as app:
        say_enforcing(app)
        tell_ready()
        await stop.wait()
    _log.info("stopped", note="what is in force stays in force")


def say_enforcing(app: App) -> None:
    """Say that the node enforces, and where to ask."""
    click.echo(f"boxwall enforces on node {app.config.node_id} ({app.config.agent_socket})")


def _fail(message: str, status: int) -> None:
    click.echo(f"boxwall: {message}", err=True)
    sys.exit(status)
