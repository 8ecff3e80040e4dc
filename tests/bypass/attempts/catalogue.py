"""Attempts, by class. An attempt is a function; what it raises or returns does not matter."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the box knows of the world."""

    own: tuple[str, str]
    """Its addresses, IPv4 and IPv6."""
    interface: str
    router: tuple[str, str]
    node: tuple[str, ...]
    """Public addresses of the node."""
    neighbour: tuple[str, ...]
    """Addresses of another box."""
    allowed_name: str
    allowed_at: tuple[str, ...]
    """Addresses of the allowed name, which has them in DNS."""
    elsewhere: tuple[str, ...]
    """Public addresses that no allowed name has."""

    @classmethod
    def read(cls, text: str) -> Self:
        """Read JSON."""
        given: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Attempt:
    """`run` is given the surroundings and a mark: letters, digits and hyphens."""

    kind: str
    title: str
    run: Callable[[Surroundings, str], object]


CATALOGUE: Final[list[Attempt]] = []


def attempt(
    kind: str, title: str
) -> Callable[[Callable[[Surroundings, str], object]], Callable[[Surroundings, str], object]]:
    """Put a function into the catalogue."""

    def add(run: Callable[[Surroundings, str], object]) -> Callable[[Surroundings, str], object]:
        CATALOGUE.append(Attempt(kind, title, run))
        return run

    return add


def mark_of(number: int) -> str:
    """The mark of an attempt, by its place in the catalogue. Also the last label of a name."""
    return f"leak{number:04d}mark"
