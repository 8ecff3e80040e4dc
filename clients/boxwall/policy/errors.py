"""What can be wrong with text that was meant to be a policy.

    PolicyError                 the caller sent something that cannot be understood
    ├── EntryError              one text is not a domain, an address or a network
    ├── InvalidPolicy           a policy; carries every violation, not only the first
    └── InvalidDestination      a destination; likewise

Messages are for people and show the fix; programs read the fields.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_SHOWN: Final = 80
"""So many characters of somebody's text are repeated in a message."""

_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:/_-*[]@%"
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: `field` says where, `suggestion` is the corrected value, if any."""

    field: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class PolicyError(ValueError):
    """Root of the tree in the module's docstring."""


class EntryError(PolicyError):
    """One text is not what it should be. `message` already contains the suggestion."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        super().__init__(message, suggestion)
        self.message = message
        self.suggestion = suggestion

    def __str__(self) -> str:
        return self.message


class InvalidPolicy(PolicyError):
    """A policy with at least one violation. Field "" is the policy as a whole."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(self.violations)

    def __str__(self) -> str:
        return "; ".join(map(str, self.violations))


class InvalidDestination(PolicyError):
    """A destination with at least one violation of `domain`, `address`, `port` or `protocol`."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__(self.violations)

    def __str__(self) -> str:
        return "; ".join(map(str, self.violations))


def shown(text: str) -> str:
    """`text` as a message may repeat it: bounded, and nothing in it can act on a terminal.

    Plain text stays bare (`10.0.0.7/24`); anything else is quoted, and what does not print
    (control characters, bidirectional overrides, zero-width characters) is escaped.
    """
    head = text[:MAX_SHOWN]
    rest = "…" if len(text) > MAX_SHOWN else ""
    if head and _PLAIN.issuperset(head):
        return head + rest
    return '"' + "".join(map(_printable, head))[:MAX_SHOWN] + rest + '"'


def entry_error(text: str, problem: str, suggestion: str | None = None) -> EntryError:
    """The error that `text` has `problem`, with the fix in the message where there is one."""
    fix = "" if suggestion is None else f"; use {suggestion}"
    return EntryError(f"{shown(text)} {problem}{fix}", suggestion)


def _printable(character: str) -> str:
    if character in '"\\' or not character.isprintable():
        return character.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return character
