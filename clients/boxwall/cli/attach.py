"""`boxwall attach`, `detach` and `attached`: boxes on this node, by its agent."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boxwall.cli.render.documents import Document
from boxwall.cli.render.text import Cell, Table, Tone, table
from boxwall.cli.session import Session, current_session
from boxwall.cli.settings import client_options

if TYPE_CHECKING:
    from boxwall.sdk.agent import AgentClient, AgentStatus, AttachedBox

DEFAULT_SOCKET = Path("/run/boxwall/agent.sock")

agent_socket_option = click.option(
    "--agent-socket",
    type=click.Path(path_type=Path),
    default=DEFAULT_SOCKET,
    show_default=True,
    envvar="BOXWALL_AGENT_SOCKET",
    help="The agent's unix socket.",
)


@click.command()
@click.argument("box_id", metavar="BOX")
@click.option("--interface", metavar="IF", help="The host's side of the box's link.")
@click.option("--netns", metavar="NS", help="The box's network namespace: a name, or a path.")
@click.option(
    "--address",
    "addresses",
    metavar="IP",
    multiple=True,
    help="What the box may send from.  [default: read from the namespace, or the routes]",
)
@click.option("--masquerade", is_flag=True, help="Let the box leave under the node's address.")
@agent_socket_option
@client_options
def attach(
    box_id: str, interface: str | None, netns: str | None, agent_socket: Path, **more: Any
) -> None:
    """Police an interface as a box's; returns when the box's policy is in force.

    From the start on nothing passes that no policy allows, also if this fails.
    """
    if (interface is None) == (netns is None):
        raise click.UsageError("name one of --interface and --netns")
    session = current_session()

    async def work(agent: "AgentClient") -> "AttachedBox":
        return await agent.attach(box_id, interface=interface or "", netns=netns or "", **more)

    attached = session.run_agent(work, agent_socket)
    session.show(lambda: attached_document(attached), lambda: _table([attached]))


@click.command()
@click.argument("box_id", metavar="BOX")
@agent_socket_option
@client_options
def detach(box_id: str, agent_socket: Path) -> None:
    """Police a box's interfaces no more: they are like any other then. Remove them first."""
    session = current_session()
    session.run_agent(lambda agent: agent.detach(box_id), agent_socket)
    session.done(f"detached {box_id}", {"detached": box_id})


@click.command()
@agent_socket_option
@client_options
def attached(agent_socket: Path) -> None:
    """Show what is attached to this node, and what is done for it."""
    session = current_session()
    status = session.run_agent(lambda agent: agent.status(), agent_socket)
    _show(session, status)


def _show(session: Session, status: "AgentStatus") -> None:
    session.show(
        lambda: {
            "node_id": status.node_id,
            "connected": status.connected,
            "boxes": [attached_document(box) for box in status.boxes],
        },
        lambda: _table(status.boxes),
    )
    if not session.wants_json and not status.connected:
        click.echo(f"node {status.node_id} is out of contact with its control plane", err=True)


def attached_document(box: "AttachedBox") -> Document:
    """Return a box as its node has it."""
    return {
        "box_id": box.box_id,
        "interface": box.interface,
        "addresses": list(box.addresses),
        "state": box.state.value,
        "policy_revision": box.policy_revision,
        "mode": box.mode,
        "message": box.message,
        "packets_refused": box.packets_refused,
    }


def _table(boxes: "Sequence[AttachedBox]") -> Table:
    columns = ("BOX", "INTERFACE", "ADDRESSES", "STATE", "MODE", "REVISION", "REFUSED", "MESSAGE")
    return table(columns, map(_row, boxes), if_empty="nothing is attached to this node")


def _row(box: "AttachedBox") -> "Sequence[str | Cell]":
    tone = Tone.GOOD if box.state.value == "enforced" else Tone.BAD
    return (
        box.box_id,
        box.interface,
        " ".join(box.addresses),
        Cell(box.state.value, tone),
        box.mode or "-",
        str(box.policy_revision) if box.policy_revision else "-",
        str(box.packets_refused),
        Cell(box.message, Tone.FAINT),
    )
