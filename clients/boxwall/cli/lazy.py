"""Groups that import a verb when it is run, not when it is listed.

`boxwall --help` and completion would otherwise import gRPC, the server and everything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from boxwall.cli.render.documents import json_text
from boxwall.cli.render.problems import BROKEN_PIPE, INTERRUPTED, USAGE
from boxwall.cli.settings import asks_for_json
from boxwall.cli.usage import shown_as_asked, usage_document
from boxwall.policy import PolicyError
from boxwall.sdk.errors import BoxwallError

_TYPED: Final = "boxwall.typed"
"""In the root's `meta`: the whole command line."""


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and what help says about it. `extra` is what must be installed for it."""

    module: str
    attribute: str
    help: str
    extra: str = ""


class LazyGroup(click.Group):
    """The root: imports commands on demand, and turns errors into messages and exit statuses."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table, which is the order of importance."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command. Explains what to install if its extra is missing."""
        entry = self._lazy.get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        try:
            command = getattr(import_module(entry.module), entry.attribute)
        except ModuleNotFoundError as exc:
            if not entry.extra or exc.name == "boxwall":
                raise
            return _missing(cmd_name, entry, exc.name or "?")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands without importing them."""
        names = [
            CompletionItem(name, help=entry.help)
            for name, entry in self._lazy.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the options before the verb."""
        typed = tuple(args)
        with shown_as_asked(typed, None):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_TYPED] = typed
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; what it raises becomes a message and an exit status."""
        try:
            with shown_as_asked(ctx.meta[_TYPED], ctx):
                return super().invoke(ctx)
        except (BoxwallError, PolicyError) as exc:
            from boxwall.cli.session import report

            ctx.exit(report(exc))
        except BrokenPipeError:
            ctx.exit(BROKEN_PIPE)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _missing(name: str, entry: LazyCommand, module: str) -> click.Command:
    """A command that says what to install, whatever it is given."""

    @click.command(
        name,
        help=entry.help,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    @click.pass_context
    def explain(context: click.Context) -> None:
        message = f"boxwall {name} needs {module}, which is not installed"
        step = f"pip install 'boxwall[{entry.extra}]'"
        if asks_for_json(context):
            click.echo(json_text(usage_document(message, USAGE, step)), err=True)
        else:
            click.echo(f"error: {message}\nnext: {step}", err=True)
        context.exit(USAGE)

    return explain
