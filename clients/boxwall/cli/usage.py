"""Mistakes on the command line: as JSON, where answers are."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

import click

from boxwall.cli.render.documents import Document, json_text
from boxwall.cli.settings import asks_for_json

_FLAGS: Final = ("--output", "-o")


class JsonProblem(click.ClickException):
    """Another error, shown as JSON."""

    def __init__(self, error: click.ClickException) -> None:
        super().__init__(error.format_message())
        self._error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click reads it, nobody writes it
        """The status of that error."""
        return self._error.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to stderr."""
        context = getattr(self._error, "ctx", None)
        command = "boxwall" if context is None else context.command_path
        text = json_text(usage_document(self.message, self.exit_code, f"see: {command} --help"))
        click.echo(text, file=file, err=True)


def usage_document(message: str, status: int, next_step: str) -> Document:
    """Return a mistake as JSON: as `problem_document`, under one name for all of click's errors."""
    return {
        "error": "UsageError",
        "message": message,
        "status": status,
        "next": next_step,
        "violations": [],
    }


@contextmanager
def shown_as_asked(arguments: Sequence[str], context: click.Context | None) -> Iterator[None]:
    """Raise JsonProblem instead of click's own errors, if JSON is asked for.

    The parser stops at the first mistake, so what is asked for may stand behind it, unread.
    """
    try:
        yield
    except click.ClickException as exc:
        output = _typed(arguments)
        if output is None and context is not None and asks_for_json(context):
            output = "json"
        if output is None and context is None:
            output = os.environ.get("BOXWALL_OUTPUT")
        if output != "json" or isinstance(exc, JsonProblem) or _is_help(exc):
            raise
        raise JsonProblem(exc) from exc


def _typed(arguments: Sequence[str]) -> str | None:
    """Return the last value that is typed for --output."""
    found = None
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--":
            break
        if argument in _FLAGS:
            found = following
        elif argument.startswith("--output="):
            found = argument.removeprefix("--output=")
        elif argument.startswith("-o") and len(argument) > 2:
            found = argument.removeprefix("-o")
    return found


def _is_help(exc: click.ClickException) -> bool:
    """Whether this is the help of a group that was called without a verb (click 8.2)."""
    return type(exc).__name__ == "NoArgsIsHelpError"
