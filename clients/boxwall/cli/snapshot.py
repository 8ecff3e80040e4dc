"""`boxwall snapshot`: remember policies, and make boxes from them."""

from typing import TYPE_CHECKING, Any

import click

from boxwall.cli.render.documents import snapshot_document
from boxwall.cli.render.tables import snapshots_table
from boxwall.cli.session import current_session
from boxwall.cli.settings import client_options

if TYPE_CHECKING:
    from boxwall.sdk.client import Client


@click.group()
@client_options
def snapshot() -> None:
    """Remember policies. Make a box from one with: boxwall box create --from-snapshot."""


@snapshot.command()
@click.argument("box_id", metavar="BOX")
@click.option("--id", "snapshot_id", default="", help="[default: the server makes one]")
@client_options
def create(box_id: str, snapshot_id: str) -> None:
    """Remember the policy a box has now."""
    session = current_session()

    async def work(client: "Client") -> Any:
        from boxwall.sdk.box import Box

        found = await Box.get(box_id, client=client)
        return (await found.snapshot(snapshot_id=snapshot_id)).state

    taken = session.run(work)
    session.show(lambda: snapshot_document(taken), lambda: snapshots_table([taken]))


@snapshot.command("list")
@click.option("--box", "box_id", default="", metavar="BOX", help="Only those taken from this box.")
@client_options
def list_snapshots(box_id: str) -> None:
    """Show snapshots."""
    session = current_session()

    async def work(client: "Client") -> list[Any]:
        from boxwall.sdk.snapshot import Snapshot

        return [one.state async for one in Snapshot.list(box_id=box_id, client=client)]

    found = session.run(work)
    session.show(
        lambda: {"snapshots": [snapshot_document(one) for one in found]},
        lambda: snapshots_table(found),
    )


@snapshot.command()
@click.argument("snapshot_ids", metavar="SNAPSHOT...", nargs=-1, required=True)
@client_options
def delete(snapshot_ids: tuple[str, ...]) -> None:
    """Forget snapshots. Boxes made from them are not touched."""
    session = current_session()

    async def work(client: "Client") -> None:
        from boxwall.sdk.snapshot import Snapshot

        for snapshot_id in snapshot_ids:
            await (await Snapshot.get(snapshot_id, client=client)).delete()
            session.event(f"deleted {snapshot_id}", {"deleted": snapshot_id})

    session.run(work)
