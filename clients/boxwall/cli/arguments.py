"""What several verbs read from the command line: policies, labels, lengths of time."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from boxwall.cli.duration import parse_duration
from boxwall.policy import load_document

F = TypeVar("F", bound=Callable[..., Any])

MODES: Final = ("allow-all", "deny-all", "custom")
_MAX_BYTES: Final = 1024 * 1024
"""More is not read; a policy document is at most 256 KiB."""


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read a length of time in seconds; a callback of options."""
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), context, parameter) from exc


def labels(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read KEY=VALUE, any number of them; a callback of options."""
    found = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!a} is not KEY=VALUE", context, parameter)
        found[key] = text
    return found


def duration_option(flag: str, *, default: str | None = None, help: str) -> Callable[[F], F]:  # noqa: A002  # as click's
    """An option that takes a length of time, such as 1h30m."""
    return click.option(
        flag,
        metavar="DURATION",
        default=default,
        show_default=default is not None,
        callback=duration,
        help=help,
    )


def label_option(help: str) -> Callable[[F], F]:  # noqa: A002  # as click's
    """--label KEY=VALUE, repeatable, as `labels`."""
    return click.option(
        "--label", "labels", metavar="KEY=VALUE", multiple=True, callback=labels, help=help
    )


wait_timeout_option = duration_option(
    "--wait-timeout", default="30s", help="How long to wait, at most 5m."
)

_POLICY_OPTIONS: Final = (
    click.option("--mode", type=click.Choice(MODES), help="Mode; lists imply custom."),
    click.option(
        "--allow-domain", "allowed_domains", multiple=True, metavar="DOMAIN", help="Repeatable."
    ),
    click.option(
        "--allow-cidr", "allowed_cidrs", multiple=True, metavar="CIDR", help="Repeatable."
    ),
    click.option(
        "--deny-cidr",
        "denied_cidrs",
        multiple=True,
        metavar="CIDR",
        help="Repeatable. Deny beats every allow.",
    ),
    click.option(
        "--unlisted",
        type=click.Choice(("allow", "deny")),
        help="What happens to everything else. [default: allow if only --deny-cidr is given]",
    ),
)


def policy_options(command: F) -> F:
    """Give a verb the options that spell out a policy."""
    for option in reversed(_POLICY_OPTIONS):
        command = option(command)
    return command


def filter_options(command: F) -> F:
    """Give a verb the options that select boxes."""
    for option in reversed(
        (
            label_option("The box has this label. Repeatable."),
            click.option("--node", default="", help="Placed on or attached to this node."),
            click.option("--name-prefix", default="", help="What the name begins with."),
            click.option("--mode", type=click.Choice(MODES), help="Mode of the policy."),
        )
    ):
        command = option(command)
    return command


def policy_document(file: str | None, flags: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the policy that a file or flags spell out. None: neither does.

    Raises InvalidPolicy for a file that holds none, click.UsageError for both at once.
    """
    given = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in flags.items()
        if value
    }
    if file is not None and given:
        raise click.UsageError("Give the policy as FILE or with --mode, --allow-… and --deny-cidr.")
    if file is not None:
        return load_document(read_text(file))
    if not given:
        return None
    return {"mode": "custom", **given}


def read_text(file: str) -> str:
    """Return the text of a file, or of stdin for "-". Raises click.UsageError."""
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise click.UsageError(f"{file} cannot be read: {exc.strerror}.") from exc
    if len(raw) > _MAX_BYTES:
        raise click.UsageError(f"{file} is larger than {_MAX_BYTES} bytes: no policy is.")
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"{file} is not UTF-8 text.") from exc
