"""`boxwall refusals`: what nodes refused."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from boxwall.cli.arguments import label_option
from boxwall.cli.render.documents import refusal_document
from boxwall.cli.render.tables import refusal_line, refusals_table
from boxwall.cli.session import Session, current_session
from boxwall.cli.settings import client_options

if TYPE_CHECKING:
    from boxwall.sdk.client import Client
    from boxwall.sdk.values import Refusal


@click.command()
@click.argument("box_id", metavar="[BOX]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on as it happens. Stop with Ctrl-C.")
@label_option("Repeatable; not beside BOX.")
@click.option(
    "--recent",
    type=click.IntRange(0, 1000),
    help="So many that the server remembers. [default: 100, with --follow 10]",
)
@client_options
def refusals(box_id: str | None, follow: bool, labels: dict[str, str], recent: int | None) -> None:
    """Show what nodes refused: to one BOX, to boxes with labels, or to any."""
    if box_id and labels:
        raise click.UsageError("Give BOX or --label, not both.")
    session = current_session()
    if follow:
        newest = 10 if recent is None else recent
        session.run(lambda client: _follow(session, client, box_id, labels, newest))
        return

    async def work(client: "Client") -> "tuple[Refusal, ...]":
        from boxwall.sdk.box import Box

        return await Box.recent_refusals(
            box_id=box_id or "",
            label=labels,
            limit=100 if recent is None else recent,
            client=client,
        )

    found = session.run(work)
    session.show(
        lambda: {"refusals": [refusal_document(one) for one in found]},
        lambda: refusals_table(found),
    )


async def _follow(
    session: Session, client: "Client", box_id: str | None, labels: dict[str, str], recent: int
) -> None:
    # A watch tries for ever; a person wants to hear at once that nobody is there.
    await client.is_serving()
    stream = await _stream(client, box_id, labels, recent)
    async with aclosing(stream) as found:
        async for refusal in found:
            session.event(refusal_line(refusal), refusal_document(refusal))


async def _stream(
    client: "Client", box_id: str | None, labels: dict[str, str], recent: int
) -> "AsyncGenerator[Refusal, None]":
    from boxwall.sdk.box import Box

    if box_id is None:
        return Box.watch_refusals(label=labels, recent=recent, client=client)
    return (await Box.get(box_id, client=client)).refusals(recent=recent)
