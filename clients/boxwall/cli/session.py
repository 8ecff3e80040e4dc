"""One run of one verb: its settings, its connection, its output."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from boxwall.cli.render.documents import Document, Json, json_text
from boxwall.cli.render.problems import problem_document, problem_of, warning_lines
from boxwall.cli.render.text import Cell, Table, Tone, lines_of, safe
from boxwall.cli.settings import Settings, asks_for_json, settings_of, verb_of
from boxwall.policy import PolicyError, PolicyWarning
from boxwall.sdk.errors import BoxwallError

if TYPE_CHECKING:
    from boxwall.sdk.agent import AgentClient
    from boxwall.sdk.client import Client

T = TypeVar("T")

_RETRIES: Final = 2
"""Fewer than in a program: a person waits."""

_STYLE_OF: Final = {
    Tone.PLAIN: "",
    Tone.GOOD: "green",
    Tone.WAITING: "yellow",
    Tone.BAD: "bold red",
    Tone.FAINT: "dim",
}


class Session:
    """Made for each verb by `current_session`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def wants_json(self) -> bool:
        """Whether the answer is for programs."""
        return self._settings.output == "json"

    def run(self, work: Callable[["Client"], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with a client, and close the client. Raises BoxwallError."""
        # Before gRPC is imported: its own log lines on stderr are not for users.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from boxwall.sdk.client import Client

        async def session() -> T:
            async with Client(
                self._settings.server,
                self._settings.token,
                self._settings.tls_ca,
                cert=self._settings.tls_cert,
                key=self._settings.tls_key,
                token_file=self._settings.token_file,
                tenant=self._settings.tenant,
                timeout=self._settings.timeout,
                retries=_RETRIES,
                environ={},
            ) as client:
                return await work(client)

        return asyncio.run(session())

    def run_agent(self, work: Callable[["AgentClient"], Coroutine[Any, Any, T]], path: Path) -> T:
        """Run `work` with a client of this node's agent. Raises BoxwallError."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from boxwall.sdk.agent import AgentClient

        async def session() -> T:
            async with AgentClient(path, timeout=self._settings.timeout) as agent:
                return await work(agent)

        return asyncio.run(session())

    # Output.

    def show(self, document: Callable[[], Mapping[str, Json]], shown: Callable[[], Table]) -> None:
        """Answer with one JSON object, or with a table."""
        if self.wants_json:
            click.echo(json_text(document()))
        else:
            self.show_table(shown())

    def show_table(self, shown: Table) -> None:
        """Print a table: with colour on a terminal, as aligned text elsewhere."""
        if sys.stdout.isatty() and shown.rows:
            _print_rich(shown)
        else:
            self.say(lines_of(shown))

    def say(self, lines: Iterable[str]) -> None:
        """Print lines that are safe already."""
        for line in lines:
            click.echo(line)

    def done(self, text: str, document: Document) -> None:
        """Say that something was done."""
        if self.wants_json:
            click.echo(json_text(document))
        else:
            click.echo(safe(text))

    def event(self, line: str, document: Document) -> None:
        """Print one item of a stream: a safe line, or a JSON object on one line."""
        click.echo(json_text(document, on_one_line=True) if self.wants_json else line)

    def warn(self, warnings: Iterable[PolicyWarning]) -> None:
        """Print warnings to stderr; in JSON they are part of the answer."""
        if not self.wants_json:
            for line in warning_lines(warnings):
                click.echo(line, err=True)


def current_session() -> Session:
    """Return the session of the verb that runs. Raises click.UsageError for bad settings."""
    return Session(settings_of(click.get_current_context()))


def report(error: BoxwallError | PolicyError) -> int:
    """Print an error to stderr; return the exit status."""
    context = click.get_current_context()
    verb = verb_of(context)
    problem = problem_of(error, verb)
    if asks_for_json(context):
        click.echo(json_text(problem_document(error, verb)), err=True)
    else:
        for line in problem.lines:
            click.echo(line, err=True)
    return problem.status


def _print_rich(shown: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in shown.columns:
        drawn.add_column(column, overflow="fold")
    for row in shown.rows:
        drawn.add_row(*(_rich_text(Text, cell) for cell in row))
    Console(highlight=False, markup=False, emoji=False).print(drawn)


def _rich_text(text: Callable[..., T], cell: Cell) -> T:
    return text(safe(cell.text), style=_STYLE_OF[cell.tone])
