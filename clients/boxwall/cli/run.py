"""`boxwall run`: a command in a box of its own, from nothing to nothing."""

import asyncio
import os
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, NoReturn

import click

from boxwall.cli.arguments import policy_document, policy_options
from boxwall.cli.attach import agent_socket_option
from boxwall.cli.in_box import InBox
from boxwall.cli.render.documents import Document, json_text
from boxwall.cli.render.problems import NOT_ENFORCED, REFUSED, UNREACHABLE, Problem
from boxwall.cli.render.text import safe
from boxwall.cli.session import Session
from boxwall.cli.settings import Settings, client_options, settings_of
from boxwall.policy import policy_from_document
from boxwall.sdk.errors import Conflict
from boxwall_agent.errors import AgentError
from boxwall_agent.sandbox import records
from boxwall_agent.sandbox.errors import AgentNotUsable, Interrupted
from boxwall_agent.sandbox.foreground import check_signals, hold_signals
from boxwall_agent.sandbox.private import LINK_PREFIX, PrivateAgent, answers
from boxwall_agent.sandbox.processes import boot_id, this_process
from boxwall_agent.sandbox.records import Record
from boxwall_agent.sandbox.sandbox import Sandbox
from boxwall_agent.sandbox.sweep import Swept, sweep

_PROGRAM_NOT_FOUND: Final = 127
"""As shells say it."""

_NOT_IN_FORCE: Final = "NOT_IN_FORCE"


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--policy", "file", metavar="FILE", help='Policy as YAML or JSON; "-": stdin.')
@policy_options
@agent_socket_option
@client_options
@click.argument(
    "command", metavar="COMMAND [ARGUMENT]...", nargs=-1, required=True, type=click.UNPROCESSED
)
@click.pass_context
def run(
    context: click.Context,
    /,
    file: str | None,
    agent_socket: Path,
    command: tuple[str, ...],
    **flags: Any,
) -> None:
    """Run COMMAND in a box made for it, and remove everything when it ends.

    The command has a network namespace of its own, and reaches the outside through this host as far
    as the policy allows; it starts when the policy is in force. What is refused is shown on stderr.
    Without a policy the box gets the server's default: allow-all, unless the server says otherwise.

    Where no agent answers on this node, the run starts its own, with its own control plane.

    The exit status is the command's own, or 128 and the number of the signal that ended it. If it
    was not started, that of boxwall. Needs root, on Linux.
    """
    document = policy_document(file, flags)
    if document is not None:
        policy_from_document(document)  # all that is wrong with it, before anything is made
    settings = settings_of(context)
    _check_can_run(settings, command[0])
    try:
        status = _run(settings, agent_socket, command, document)
    except Conflict as exc:
        if exc.reason != _NOT_IN_FORCE:
            raise
        step = "look at the node with: boxwall attached; boxwall node list"
        _fail(settings, NOT_ENFORCED, str(exc), step)
    except AgentNotUsable as exc:
        _fail(settings, UNREACHABLE, str(exc))
    except AgentError as exc:
        _fail(settings, REFUSED, str(exc), "boxwall doctor says what this machine lacks")
    context.exit(status)


def _run(settings: Settings, agent_socket: Path, command: tuple[str, ...], document: Any) -> int:
    """Return the exit status. All that starts processes comes first: gRPC forbids to fork."""
    hold_signals()
    in_box = InBox(settings, document)
    try:
        with ExitStack() as stack:
            swept = _swept(in_box)
            record = _begin(settings, agent_socket)
            stack.callback(in_box.forget, record.box_id)
            if answers(agent_socket):
                in_box.use_agent(agent_socket, swept)
            else:
                private, record = _private(settings, record)
                stack.callback(private.end)
                settings = settings.without_credentials(private.server)
                in_box.use_private_agent(private.socket, private.server, swept)
            sandbox = Sandbox.make(record, command, in_box.say)
            stack.callback(sandbox.close)
            return Session(settings).run(lambda client: in_box.whole(client, sandbox))
    except Interrupted as exc:
        return 128 + exc.number
    except asyncio.CancelledError:
        return 128 + in_box.interrupted_by


def _swept(in_box: InBox) -> list[Swept]:
    with records.locked():
        swept = sweep()
    for one in swept:
        in_box.say(f"removed what {one.record.box_id} left, which was killed")
        if one.undead:
            in_box.say(f"processes that do not die: {', '.join(map(str, one.undead))}")
    return swept


def _begin(settings: Settings, agent_socket: Path) -> Record:
    number = token_hex(4)
    record = Record(
        box_id=f"run-{number}",
        runner=this_process(),
        boot=boot_id(),
        began=time.time(),
        link=f"{LINK_PREFIX}-{number}",
        server=settings.server or "",
        agent_socket=str(agent_socket.absolute()),
    )
    records.save(record)
    return record


def _private(settings: Settings, record: Record) -> tuple[PrivateAgent, Record]:
    if settings.server is not None:
        raise AgentNotUsable(
            f"no agent answers at {record.agent_socket}; start one with `boxwall agent --server "
            f"{settings.server}`, or name no server: then this run has its own agent and server"
        )
    return PrivateAgent.start(record, check_signals)


def _check_can_run(settings: Settings, program: str) -> None:
    if sys.platform != "linux":
        _fail(settings, REFUSED, "boxwall run needs Linux", "run it in a virtual machine")
    if os.geteuid() != 0:
        headline = "boxwall run needs root: it makes a network namespace"
        _fail(settings, REFUSED, headline, "run it with sudo")
    if shutil.which(program) is None:
        headline = f"there is no program {program!a}"
        _fail(settings, _PROGRAM_NOT_FOUND, headline, "name one that is on PATH, or its path")


def _fail(settings: Settings, status: int, headline: str, next_step: str = "") -> NoReturn:
    problem = Problem(status=status, headline=safe(headline), next_step=safe(next_step))
    if settings.output == "json":
        document: Document = {
            "error": "CannotRun",
            "message": headline,
            "status": status,
            "next": next_step,
        }
        click.echo(json_text(document), err=True)
    else:
        for line in problem.lines:
            click.echo(line, err=True)
    click.get_current_context().exit(status)
