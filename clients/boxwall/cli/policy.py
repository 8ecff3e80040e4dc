"""`boxwall policy`: read, set, judge by and check network policies."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boxwall.cli.arguments import policy_document, policy_options, read_text, wait_timeout_option
from boxwall.cli.attach import agent_socket_option, attached_document
from boxwall.cli.render.documents import (
    box_document,
    policy_revision_document,
    verdict_document,
    violation_documents,
    warning_documents,
)
from boxwall.cli.render.explanations import explanation_document, explanation_lines
from boxwall.cli.render.problems import REFUSED
from boxwall.cli.render.tables import box_table, history_table, policy_yaml, verdicts_table
from boxwall.cli.session import Session, current_session
from boxwall.cli.settings import client_options
from boxwall.policy import (
    Destination,
    InvalidPolicy,
    Parsed,
    Verdict,
    decide,
    lint,
    load_document,
    policy_from_document,
)
from boxwall.sdk.network_policy import NetworkPolicy

if TYPE_CHECKING:
    from boxwall.sdk.client import Client


@click.group()
@client_options
def policy() -> None:
    """Read, set, judge by and check network policies."""


@policy.command()
@click.argument("box_id", metavar="BOX")
@client_options
def get(box_id: str) -> None:
    """Print the policy of a box, as `policy set` reads it."""
    session = current_session()

    async def work(client: "Client") -> NetworkPolicy:
        from boxwall.sdk.box import Box

        return (await Box.get(box_id, client=client)).network_policy

    found = session.run(work)
    if session.wants_json:
        session.done("", dict(found.to_dict()))
    else:
        session.say(policy_yaml(found))


@policy.command("set")
@click.argument("box_id", metavar="BOX")
@click.argument("file", required=False)
@policy_options
@click.option("--wait/--no-wait", default=True, help="Wait until it is in force. [default: wait]")
@wait_timeout_option
@click.option("--etag", default="", help="Refuse if the box was written since it had this etag.")
@click.option("--validate-only", is_flag=True, help="Check, and change nothing.")
@client_options
def set_policy(
    box_id: str,
    file: str | None,
    wait: bool,
    wait_timeout: float,
    etag: str,
    validate_only: bool,
    **flags: Any,
) -> None:
    """Replace the policy of a box by that in FILE (YAML or JSON, "-" for stdin) or in the options.

    It is durable on return. By default also in force on every node that hosts the box; exit status
    4 says that it is not, within the time to wait. If no node hosts the box it returns at once.
    """
    document = policy_document(file, flags)
    if document is None:
        raise click.UsageError("Give the policy as FILE, or with --mode and the lists.")
    new = NetworkPolicy.from_document(document)
    session = current_session()
    if validate_only:
        _validate(session, box_id, new, etag)
        return

    async def work(client: "Client") -> Any:
        from boxwall.sdk.box import Box

        found = await Box.get(box_id, client=client)
        await found.update_network_policy(
            new, wait_timeout=wait_timeout if wait else None, etag=etag
        )
        return found

    written = session.run(work)
    session.warn(written.warnings)
    session.show(lambda: box_document(written.state), lambda: box_table(written.state))


@policy.command()
@click.argument("asked", metavar="[BOX] DEST...", nargs=-1, required=True)
@click.option("--policy", "file", metavar="FILE", help="Judge by this policy, without a server.")
@click.option(
    "--live", is_flag=True, help="Ask this node's agent: leases, kernel, policy in force."
)
@agent_socket_option
@client_options
@click.pass_context
def check(
    context: click.Context, asked: tuple[str, ...], file: str | None, live: bool, agent_socket: Path
) -> None:
    """Judge destinations (api.github.com:443) by a box's policy, or by that in a file.

    With --live the agent of this node says what would happen now: by the policy in force, the
    leases, and what the kernel holds. Exit status 1 if any of them is denied.
    """
    session = current_session()
    if live:
        if file is not None:
            raise click.UsageError("Give one of --live and --policy FILE.")
        _check_live(context, session, asked, agent_socket)
        return
    if file is not None:
        given = policy_from_document(load_document(read_text(file))).policy
        verdicts = [decide(given, Destination.parse(text)) for text in asked]
        destinations = asked
    else:
        box_id, *rest = asked
        if not rest:
            raise click.UsageError(f"Give destinations after BOX ({box_id!a}), or --policy FILE.")
        destinations = tuple(rest)
        verdicts = session.run(lambda client: _ask(client, box_id, rest))
    pairs = list(zip(destinations, verdicts, strict=True))
    session.show(
        lambda: {"verdicts": [verdict_document(text, verdict) for text, verdict in pairs]},
        lambda: verdicts_table(pairs),
    )
    if not all(verdict.allowed for verdict in verdicts):
        context.exit(REFUSED)


def _check_live(
    context: click.Context, session: Session, asked: tuple[str, ...], path: Path
) -> None:
    box_id, *texts = asked
    if not texts:
        raise click.UsageError(f"Give destinations after BOX ({box_id!a}).")
    destinations = [Destination.parse(text) for text in texts]
    answer = session.run_agent(lambda agent: agent.explain(box_id, destinations), path)
    pairs = list(zip(texts, answer.explanations, strict=True))
    if session.wants_json:
        explained = [explanation_document(text, one) for text, one in pairs]
        session.done("", {"box": attached_document(answer.box), "explanations": explained})
    else:
        now = datetime.fromtimestamp(time.time(), UTC)
        for text, one in pairs:
            session.say(explanation_lines(text, one, now))
    if any(one.outcome.value in ("refused", "unknown") for _, one in pairs):
        context.exit(REFUSED)


@policy.command()
@click.argument("box_id", metavar="BOX")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@client_options
def history(box_id: str, limit: int) -> None:
    """Show the policies a box has had, newest first: when, and by whom."""
    session = current_session()

    async def work(client: "Client") -> list[Any]:
        from boxwall.sdk.box import Box

        found = []
        async for revision in (await Box.get(box_id, client=client)).policy_history():
            found.append(revision)
            if len(found) == limit:
                break
        return found

    revisions = session.run(work)
    session.show(
        lambda: {"revisions": [policy_revision_document(r) for r in revisions]},
        lambda: history_table(revisions),
    )


@policy.command("lint")
@click.argument("file")
@client_options
@click.pass_context
def lint_file(context: click.Context, file: str) -> None:
    """Check the policy in FILE (YAML or JSON, "-" for stdin) without a server.

    Everything that is wrong is shown at once, and what is allowed but probably not meant. Exit
    status 1 if it is not valid; warnings do not count.
    """
    session = current_session()
    text = read_text(file)
    if not session.wants_json:
        parsed = policy_from_document(load_document(text))
        session.warn(lint(parsed))
        session.say(policy_yaml(NetworkPolicy(parsed.policy)))
        return
    try:
        parsed = policy_from_document(load_document(text))
    except InvalidPolicy as exc:
        found = violation_documents(exc.violations)
        session.done("", {"valid": False, "violations": found, "warnings": [], "policy": None})
        context.exit(REFUSED)
    session.done("", _lint_document(parsed))


def _lint_document(parsed: Parsed) -> dict[str, Any]:
    return {
        "valid": True,
        "violations": [],
        "warnings": warning_documents(lint(parsed)),
        "policy": NetworkPolicy(parsed.policy).to_dict(),
    }


def _validate(session: Session, box_id: str, new: NetworkPolicy, etag: str) -> None:
    async def work(client: "Client") -> Any:
        from boxwall.sdk.box import Box

        found = await Box.get(box_id, client=client)
        return await found.validate_network_policy(new, etag=etag)

    warnings = session.run(work)
    session.warn(warnings)
    session.done(
        "the policy would be accepted; nothing was changed",
        {
            "valid": True,
            "violations": [],
            "warnings": warning_documents(warnings),
            "policy": dict(new.to_dict()),
        },
    )


async def _ask(client: "Client", box_id: str, asked: Sequence[str]) -> list[Verdict]:
    from boxwall.sdk.box import Box

    destinations = [Destination.parse(text) for text in asked]
    found = await Box.get(box_id, client=client)
    return [*await found.check_all(destinations)]
