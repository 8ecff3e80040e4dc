"""A policy as somebody gave it, and what becomes of it once it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from boxwall.policy.model import Mode, Policy, Unlisted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a policy may be."""

    entries_per_list: int = 1000


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFields:
    """A policy as somebody gave it. None: not given; an empty list is given.

    A source that cannot tell an empty list from none (protobuf) passes None for both. What is in
    the lists need not even be text.
    """

    mode: Mode
    allowed_domains: Sequence[object] | None = None
    allowed_cidrs: Sequence[object] | None = None
    denied_cidrs: Sequence[object] | None = None
    unlisted: Unlisted | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The entry at `list_name[index]` says the same as an earlier one, `text`, and was dropped."""

    list_name: str
    index: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A policy, and what a warning about it needs to know of how it was given."""

    policy: Policy
    duplicates: tuple[Duplicate, ...] = ()
    prefix: str = ""
    """Goes before every field path: "" for documents, "custom." where the lists are nested."""
