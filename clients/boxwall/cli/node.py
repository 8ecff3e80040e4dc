"""`boxwall node`: look after nodes, for operators."""

from typing import TYPE_CHECKING

import click

from boxwall.cli.render.documents import node_document
from boxwall.cli.render.tables import nodes_table
from boxwall.cli.session import Session, current_session
from boxwall.cli.settings import client_options

if TYPE_CHECKING:
    from boxwall.sdk.client import Client
    from boxwall.sdk.values import Node


@click.group()
@client_options
def node() -> None:
    """Look after nodes (for operators)."""


@node.command("list")
@client_options
def list_nodes() -> None:
    """Show the nodes, how far each is, and when it was last heard of."""
    session = current_session()

    async def work(client: "Client") -> "list[Node]":
        return await client.nodes.list()

    found = session.run(work)
    session.show(
        lambda: {"nodes": [node_document(one) for one in found]}, lambda: nodes_table(found)
    )


@node.command()
@click.argument("node_id", metavar="NODE")
@client_options
def get(node_id: str) -> None:
    """Show one node."""
    session = current_session()
    _show(session, session.run(lambda client: client.nodes.get(node_id)))


@node.command()
@click.argument("node_id", metavar="NODE")
@click.option("--reason", default="", help="Why, for other operators.")
@client_options
def fence(node_id: str, reason: str) -> None:
    """Shut a node out: it is told to deny everything, and its acknowledgements do not count."""
    session = current_session()
    _show(session, session.run(lambda client: client.nodes.fence(node_id, reason=reason)))


@node.command()
@click.argument("node_id", metavar="NODE")
@client_options
def unfence(node_id: str) -> None:
    """Let a node in again."""
    session = current_session()
    _show(session, session.run(lambda client: client.nodes.unfence(node_id)))


@node.command()
@click.argument("node_id", metavar="NODE")
@client_options
def forget(node_id: str) -> None:
    """Forget a node that is gone for good, with its attachments. Refused while it is connected."""
    session = current_session()
    attachments = session.run(lambda client: client.nodes.forget(node_id))
    session.done(
        f"forgot {node_id} and {attachments} attachments",
        {"forgotten": node_id, "attachments": attachments},
    )


def _show(session: Session, found: "Node") -> None:
    session.show(lambda: node_document(found), lambda: nodes_table([found]))
