"""`boxwall up`: everything this machine can, in one process."""

import asyncio
import os
import shlex
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import structlog

from boxwall.cli.render.problems import REFUSED, USAGE
from boxwall.policy import EntryError
from boxwall.sdk.endpoint import endpoint
from boxwall_agent.config import AgentConfig
from boxwall_agent.errors import AgentError
from boxwall_agent.options import AGENT_KEYS, agent_config, agent_options
from boxwall_agent.readiness import tell_ready
from boxwall_server.app import App, running
from boxwall_server.config import DEFAULT_LISTEN, BadConfig, ServerConfig
from boxwall_server.main import (
    fail,
    server_config,
    server_options,
    start_logs,
    stop_signal,
    tune_process,
)
from boxwall_server.store.errors import StoreError

_log = structlog.get_logger()


@click.command()
@server_options
@agent_options
def up(**settings: Any) -> None:
    """Run everything this machine can: the control plane, with its state in one file, and as root
    on Linux the node agent.
    """
    start_logs(settings)
    agent_settings = {key: settings.pop(key) for key in AGENT_KEYS}
    try:
        asyncio.run(_run(server_config(settings), agent_settings))
    except (BadConfig, EntryError, ValueError) as exc:
        fail(exc, USAGE)
    except (StoreError, AgentError) as exc:
        fail(exc, REFUSED)


async def _run(config: ServerConfig, agent_settings: dict[str, Any]) -> None:
    _refuse_identities(config)
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(running(config))
        tune_process()
        _log.info("serving", address=str(app.address), store=str(config.database))
        lack = _why_no_agent()
        if lack:
            click.echo(f"boxwall serves on {app.address} (control plane only: {lack})")
        else:
            node = await _enforce(stack, app, agent_settings)
            click.echo(f"boxwall serves on {app.address}, and enforces on node {node.node_id}")
        _say_what_to_try(app)
        tell_ready()
        await stop.wait()
        _log.info("stopping")
    _log.info("stopped")


def _refuse_identities(config: ServerConfig) -> None:
    """The agent in this process has no credentials. Raises BadConfig if it would need some."""
    if config.security.is_encrypted or config.security.needs_identity:
        raise BadConfig(
            "boxwall up is for one machine, without TLS and identities; with them, start "
            "boxwall server and boxwall agent, each with its own certificate or token"
        )


async def _enforce(stack: AsyncExitStack, app: App, settings: dict[str, Any]) -> AgentConfig:
    """Run the agent in this process, beside its control plane. Raises AgentError."""
    from boxwall_agent.app import running as agent_running

    config = agent_config(settings, endpoint(str(app.address), environ={}))
    await stack.enter_async_context(agent_running(config))
    return config


def _why_no_agent() -> str:
    """Why this machine, or this user, cannot enforce. Empty: it can."""
    if sys.platform != "linux":
        return "policies are enforced on Linux"
    if os.geteuid() != 0:
        return "the node agent needs root"
    try:
        import pyroute2  # noqa: F401
    except ModuleNotFoundError:
        return "the node agent is not installed; pip install 'boxwall[agent]'"
    return ""


def _program() -> str:
    """How to call this program from another terminal, as a shell reads it."""
    called = Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100  # resolve() would follow links
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m boxwall"
    found = shutil.which("boxwall")
    if found is not None and Path(found).resolve() == called.resolve():
        return "boxwall"
    shortest = min(str(called), os.path.relpath(called), key=len)
    # Without a slash, a shell would look for it on PATH.
    return shlex.quote(shortest if "/" in shortest else f"./{shortest}")


def _say_what_to_try(app: App) -> None:
    program = _program()
    where = (
        "" if str(app.address) == DEFAULT_LISTEN else f" --server {shlex.quote(str(app.address))}"
    )
    click.echo(
        f"""
Try, in another terminal:
  {program} box create --id demo --mode custom --allow-domain api.github.com{where}
  {program} policy check demo api.github.com:443 example.com:443{where}
  {program} policy set demo --mode deny-all{where}

Stop with Ctrl-C."""
    )
