"""How the demonstration is shown: a live table on a terminal, lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import assert_never

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from boxwall import PolicyDocument
from demo.events import Began, Event, GoesOn, Stopped, Tried


class Lines:
    """One line for each event."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Began):
            self._print(f"{title(event)}: {policy_text(event.step.policy)}")
        else:
            what, result, why = row(event)
            note = "" if event.is_expected else "  NOT EXPECTED"
            self._print(f"  {what:<44} {result:<24} {why}{note}".rstrip())

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Nothing has to be put back."""
        yield

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveTables:
    """A table for each policy, filled while one looks."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._table = _empty_table()
        self._shown: Group | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The terminal is put back at the end, whatever happens."""
        with self._live:
            yield
            self._finish()

    def tell(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, Began):
            self._finish()
            self._table = _empty_table()
            self._shown = _headed(event, self._table)
        else:
            what, result, why = row(event)
            style = "green" if _is_open(event) else "red"
            note = "" if event.is_expected else "  NOT EXPECTED"
            self._table.add_row(Text(what), Text(result, style), Text(why + note))
        if self._shown is not None:
            self._live.update(self._shown, refresh=True)

    def _finish(self) -> None:
        """What is complete goes up, and stays."""
        if self._shown is not None:
            self._live.update(Text(), refresh=True)
            self._console.print(self._shown)


def title(event: Began) -> str:
    """The heading of a policy."""
    return (
        f"policy {event.number} of {event.of}, {event.step.title} (revision {event.revision}, in "
        f"force when the call returned, after {event.milliseconds:.1f} ms)"
    )


def row(event: Tried | Stopped | GoesOn) -> tuple[str, str, str]:
    """What, what came of it, and why."""
    match event:
        case Tried(target=target, reached=True):
            return target.text, f"reached in {event.milliseconds:.1f} ms", ""
        case Tried(target=target, refusal=None):
            return target.text, "not reached", "the agent does not say why"
        case Tried(target=target, refusal=refusal):
            assert refusal is not None
            rule = "" if refusal.rule is None else f" by {refusal.rule}"
            reason = "unknown" if refusal.reason is None else refusal.reason.value
            return target.text, "refused", f"{reason}{rule}"
        case Stopped(milliseconds=None):
            return f"download of {event.name}", "did not stop", ""
        case Stopped(milliseconds=milliseconds):
            assert milliseconds is not None
            when = "after" if milliseconds >= 0 else "before"
            text = f"its last byte came {abs(milliseconds):.1f} ms {when} the call returned"
            return f"download of {event.name}", "stopped", text
        case GoesOn():
            return f"download of {event.name}", "goes on", f"{event.octets / 1e6:.1f} MB more"
        case _:
            assert_never(event)


def policy_text(policy: PolicyDocument) -> str:
    """A policy on one line."""
    parts = [str(policy["mode"])]
    for key, value in policy.items():
        if isinstance(value, list):
            parts.append(f"{key} {' '.join(map(str, value))}")
    return ", ".join(parts)


def _is_open(event: Tried | Stopped | GoesOn) -> bool:
    return isinstance(event, GoesOn) or (isinstance(event, Tried) and event.reached)


def _headed(event: Began, table: Table) -> Group:
    policy = Text(policy_text(event.step.policy), "dim")
    return Group(Text(title(event), "bold"), policy, table, Text())


def _empty_table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column(min_width=36, no_wrap=True)
    table.add_column(min_width=18, no_wrap=True)
    table.add_column(overflow="fold")
    return table
