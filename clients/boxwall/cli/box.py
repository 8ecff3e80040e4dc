"""`boxwall box`: make, read, change, watch and end boxes."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from boxwall.cli.arguments import (
    duration_option,
    filter_options,
    label_option,
    policy_document,
    policy_options,
    wait_timeout_option,
)
from boxwall.cli.render.documents import box_document
from boxwall.cli.render.tables import box_changed_line, box_gone_line, box_table, boxes_table
from boxwall.cli.session import Session, current_session
from boxwall.cli.settings import client_options

if TYPE_CHECKING:
    from boxwall.sdk.box import Box
    from boxwall.sdk.client import Client


@click.group()
@client_options
def box() -> None:
    """Make, read, change, watch and end boxes."""


@box.command()
@click.argument("file", required=False)
@click.option("--id", "box_id", default="", help="Id of the box. [default: the server makes one]")
@click.option("--name", default="", help="A name for people.")
@label_option("Repeatable.")
@click.option("--runtime", default="", help="What runs in the box, in your words.")
@click.option("--node-id", default="", help="Only this node may attach the box.")
@policy_options
@click.option("--from-snapshot", metavar="SNAPSHOT", help="Take the policy of a snapshot.")
@duration_option("--ttl", help="The box ends by itself after this time (1s to 3d).")
@click.option("--wait/--no-wait", default=False, help="Wait until its policy is in force.")
@wait_timeout_option
@click.option("--validate-only", is_flag=True, help="Check, and make nothing.")
@client_options
def create(
    file: str | None,
    from_snapshot: str | None,
    ttl: float | None,
    wait: bool,
    wait_timeout: float,
    **given: Any,
) -> None:
    """Make a box, with the policy in FILE (YAML or JSON, "-" for stdin) or in the options.

    Without a policy it gets the server's default: allow-all, unless the server says otherwise.
    """
    flags = {key: given.pop(key) for key in _POLICY_KEYS}
    given["network_policy"] = policy_document(file, flags)
    session = current_session()

    async def work(client: "Client") -> "Box":
        made = await _create(client, from_snapshot, ttl, given)
        if wait and not given["validate_only"]:
            await made.wait_enforced(timeout=wait_timeout)
        return made

    made = session.run(work)
    session.warn(made.warnings)
    if session.wants_json:
        session.show(lambda: box_document(made.state), lambda: box_table(made.state))
    elif given["validate_only"]:
        session.say(["the box would be accepted; nothing was made"])
    else:
        session.show_table(box_table(made.state))


@box.command()
@click.argument("box_id", metavar="BOX")
@client_options
def get(box_id: str) -> None:
    """Show one box."""
    session = current_session()
    found = session.run(lambda client: _box_type().get(box_id, client=client))
    session.show(lambda: box_document(found.state), lambda: box_table(found.state))


@box.command("list")
@filter_options
@client_options
def list_boxes(**where: Any) -> None:
    """Show the boxes that match everything given."""
    session = current_session()

    async def work(client: "Client") -> list[Any]:
        found = _box_type().list(label=where.pop("labels"), client=client, **where)
        return [one.state async for one in found]

    states = session.run(work)
    session.show(
        lambda: {"boxes": [box_document(state) for state in states]}, lambda: boxes_table(states)
    )


@box.command()
@click.argument("box_id", metavar="BOX")
@click.option("--name", help="A name for people; empty clears it.")
@label_option("Set a label. Repeatable.")
@click.option("--remove-label", "removed", multiple=True, metavar="KEY", help="Repeatable.")
@click.option("--runtime", help="What runs in the box; empty clears it.")
@click.option("--node-id", help="Only this node may attach the box; empty: any.")
@duration_option("--ttl", help="The box ends after this time from now.")
@click.option("--never-expires", is_flag=True, help="The box does not end by itself.")
@click.option("--etag", default="", help="Refuse if the box was written since it had this etag.")
@client_options
def update(box_id: str, labels: dict[str, str], removed: tuple[str, ...], **given: Any) -> None:
    """Change what is not policy. What is not given stays as it is."""
    if given["ttl"] is not None and given["never_expires"]:
        raise click.UsageError("--ttl and --never-expires exclude each other.")
    if not (
        labels or removed or any(v not in (None, False) for k, v in given.items() if k != "etag")
    ):
        raise click.UsageError("Nothing to change is given.")
    session = current_session()

    async def work(client: "Client") -> "Box":
        found = await _box_type().get(box_id, client=client)
        if labels or removed:
            kept = {k: v for k, v in found.labels.items() if k not in removed}
            given["labels"] = {**kept, **labels}
            # The labels were read to be changed: nobody may have written in between.
            given["etag"] = given["etag"] or found.etag
        return await found.update(**given)

    written = session.run(work)
    session.show(lambda: box_document(written.state), lambda: box_table(written.state))


@box.command()
@click.argument("box_ids", metavar="BOX...", nargs=-1, required=True)
@click.option("--wait/--no-wait", default=False, help="Wait until nodes deny everything for it.")
@wait_timeout_option
@click.option("--etag", default="", help="Refuse if the box was written since it had this etag.")
@client_options
def delete(box_ids: tuple[str, ...], wait: bool, wait_timeout: float, etag: str) -> None:
    """End boxes, one after the other; the first that fails ends the command."""
    if etag and len(box_ids) > 1:
        raise click.UsageError("--etag is about one box; give one BOX.")
    session = current_session()

    async def work(client: "Client") -> None:
        for box_id in box_ids:
            found = await _box_type().get(box_id, client=client)
            await found.delete(wait_timeout=wait_timeout if wait else None, etag=etag)
            session.event(f"deleted {box_id}", {"deleted": box_id})

    session.run(work)


@box.command()
@filter_options
@client_options
def watch(**where: Any) -> None:
    """Show every change of the boxes that match, beginning with all there are. Stop with Ctrl-C."""
    where["label"] = where.pop("labels")
    session = current_session()
    session.run(lambda client: _watch(session, client, where))


async def _watch(session: Session, client: "Client", where: dict[str, Any]) -> None:
    from boxwall.sdk.box import Box, BoxChanged

    # A watch tries for ever; a person wants to hear at once that nobody is there.
    await client.is_serving()
    async with aclosing(Box.watch(client=client, **where)) as changes:
        async for change in changes:
            if isinstance(change, BoxChanged):
                state = change.box.state
                session.event(
                    box_changed_line(state), {"change": "changed", "box": box_document(state)}
                )
            else:
                session.event(
                    box_gone_line(change.box_id), {"change": "gone", "box_id": change.box_id}
                )


_POLICY_KEYS = ("mode", "allowed_domains", "allowed_cidrs", "denied_cidrs", "unlisted")


async def _create(
    client: "Client", from_snapshot: str | None, ttl: float | None, given: dict[str, Any]
) -> "Box":
    from boxwall.sdk.box import Box, EphemeralBox

    given = {"client": client, **given}
    if ttl is None:
        if from_snapshot is None:
            return await Box.create(**given)
        return await Box.from_snapshot(from_snapshot, **given)
    if from_snapshot is None:
        return await EphemeralBox.create(ttl=ttl, **given)
    return await EphemeralBox.from_snapshot(from_snapshot, ttl=ttl, **given)


def _box_type() -> "type[Box]":
    from boxwall.sdk.box import Box

    return Box
