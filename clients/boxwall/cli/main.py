"""`boxwall`: the root of all commands."""

import os
import sys
from contextlib import suppress
from typing import Final

import click

from boxwall.cli.lazy import LazyCommand, LazyGroup
from boxwall.cli.render.problems import BROKEN_PIPE
from boxwall.cli.settings import root_options

_COMMANDS: Final = {
    "up": LazyCommand(
        "boxwall.cli.up",
        "up",
        "Run everything this machine can: the control plane, and as root the node agent.",
        extra="server",
    ),
    "run": LazyCommand(
        "boxwall.cli.run", "run", "Run a command in a box of its own.", extra="agent"
    ),
    "box": LazyCommand("boxwall.cli.box", "box", "Make, read, change, watch and end boxes."),
    "policy": LazyCommand(
        "boxwall.cli.policy", "policy", "Read, set, judge by and check network policies."
    ),
    "refusals": LazyCommand("boxwall.cli.refusals", "refusals", "Show what nodes refused."),
    "snapshot": LazyCommand("boxwall.cli.snapshot", "snapshot", "Remember policies."),
    "node": LazyCommand("boxwall.cli.node", "node", "Look after nodes (for operators)."),
    "server": LazyCommand(
        "boxwall_server.main", "server", "Run the control plane.", extra="server"
    ),
    "agent": LazyCommand(
        "boxwall_agent.main", "agent", "Enforce policies on this node.", extra="agent"
    ),
    "attach": LazyCommand("boxwall.cli.attach", "attach", "Police an interface as a box's."),
    "detach": LazyCommand("boxwall.cli.attach", "detach", "Police a box's interfaces no more."),
    "attached": LazyCommand("boxwall.cli.attach", "attached", "Show the boxes on this node."),
    "backup": LazyCommand(
        "boxwall_server.main", "backup", "Copy the state of a control plane.", extra="server"
    ),
    "certs": LazyCommand(
        "boxwall.cli.certs", "certs", "Make a private CA and certificates.", extra="certs"
    ),
    "tokens": LazyCommand(
        "boxwall.cli.tokens", "tokens", "Make tokens and check a file of them.", extra="server"
    ),
    "doctor": LazyCommand(
        "boxwall.cli.doctor", "doctor", "Say what this machine can do, and what it lacks."
    ),
    "completion": LazyCommand(
        "boxwall.cli.completion", "completion", "Print the completion script of a shell."
    ),
}


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"boxwall {version('boxwall')}")
        except PackageNotFoundError:
            click.echo("boxwall (not installed)")
        context.exit()


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit status: 0 done, 1 refused by the server or by policy, 2 usage, 3 unreachable, "
        "4 not enforced in time."
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@root_options
def cli() -> None:
    """Decide what a sandbox may reach on the network, and see that it is enforced."""


def main() -> None:
    """Run the command line of this process; exits."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            # A terminal that cannot show a name shows escapes instead of a traceback.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # TextIOWrapper
    # What gRPC itself logs, a line for every stranger's handshake, is not for users.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    status: int | str | None = 0
    try:
        cli(prog_name="boxwall")
    except SystemExit as exc:
        status = exc.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = BROKEN_PIPE
    if status == BROKEN_PIPE:
        # What is left in the buffer has no reader; the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
