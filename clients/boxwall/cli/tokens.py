"""`boxwall tokens`: make a token, and check the file that holds their hashes."""

import json
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from boxwall.cli.duration import parse_duration
from boxwall.cli.files import one_at_a_time, replace_file
from boxwall.cli.render.documents import Document
from boxwall.cli.session import current_session
from boxwall.cli.settings import client_options
from boxwall.sdk.errors import BadConfig
from boxwall_server.identity.caller import Scope
from boxwall_server.identity.tokens import TOKEN_PREFIX, BadTokens, read_tokens, token_digest

_BYTES = 32


@click.group()
def tokens() -> None:
    """Make tokens, and check the file that a server is given with --tokens."""


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help="What it may do. Repeatable.",
)
@click.option("--tenant", default="default", show_default=True)
@click.option("--expires", default="90d", show_default=True, help="A length of time, or never.")
@click.option("--node", default="", help="The one node it may speak for, with the scope enforce.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the entry to this file, made if need be; else it is printed.",
)
@client_options
def new(
    name: str, scopes: tuple[str, ...], tenant: str, expires: str, node: str, file: Path | None
) -> None:
    """Make a token for NAME, print it once, and the entry that makes a server know it.

    The entry holds a hash: nobody can make the token from it, so keep the token.
    """
    token = TOKEN_PREFIX + secrets.token_urlsafe(_BYTES)
    entry = _entry(name, token_digest(token), tenant, scopes, _expiry(expires), node)
    _check(entry)
    session = current_session()
    if file is not None:
        _add(file, entry)
    shown = f"{token}\n" if file is not None else f"{token}\n\n{entry}"
    document: Document = {
        "token": token,
        "entry": entry,
        "file": None if file is None else str(file),
    }
    if session.wants_json:
        session.done("", document)
        return
    click.echo(shown, nl=False)
    where = "the file of --tokens" if file is None else str(file)
    click.echo(
        f"boxwall: the first line is the token, shown once; {where} knows its hash", err=True
    )


@tokens.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@client_options
def check(file: Path) -> None:
    """Say whether a server could use FILE."""
    table = _check(_read(file), f"{file}: ")
    current_session().done(
        f"{file} is good: {table} tokens", {"file": str(file), "tokens": table, "valid": True}
    )


def _entry(
    name: str, digest: str, tenant: str, scopes: tuple[str, ...], expires: str, node: str
) -> str:
    lines = [
        "[[tokens]]",
        f"name = {_quoted(name)}",
        f'sha256 = "{digest}"',
        f"tenant = {_quoted(tenant)}",
        f"scopes = {json.dumps(list(dict.fromkeys(scopes)))}",
        f"expires = {expires}",
        *([f"node = {_quoted(node)}"] if node else []),
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a basic string of TOML: JSON's, with letters beyond ASCII as they are."""
    return json.dumps(text, ensure_ascii=False)


def _expiry(text: str) -> str:
    if text == "never":
        return '"never"'
    try:
        at = datetime.fromtimestamp(time.time() + parse_duration(text), UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise click.BadParameter(str(exc), param_hint="--expires") from exc
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _check(text: str, where: str = "") -> int:
    try:
        return len(read_tokens(text))
    except BadTokens as exc:
        what = str(exc) if where else str(exc).removeprefix("tokens[0]").lstrip(".: ")
        raise BadConfig(f"{where}{what}") from exc


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise BadConfig(f"{file} cannot be read: {exc}") from exc


def _add(file: Path, entry: str) -> None:
    """Add an entry, and lose none that others add at the same time."""
    try:
        with one_at_a_time(file):
            before = _read(file) if file.exists() else ""
            if before.strip() == "tokens = []":
                before = ""
            after = f"{before.rstrip()}\n\n{entry}" if before.strip() else entry
            _check(after, f"{file} with the new entry: ")
            replace_file(file, after.encode(), 0o600)
    except OSError as exc:
        raise BadConfig(f"{file} cannot be written: {exc.strerror}") from exc
