"""Attempts, by class, and what has to bar each."""

import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self, TypeAlias


class Bar(StrEnum):
    """Which policies have to bar an attempt."""

    ALWAYS = "always"
    """Every policy."""
    UNLISTED = "unlisted"
    """Every policy but allow-all: it goes where no allow entry leads, and where a denied network
    is."""
    NAMED = "named"
    """Every policy that restricts names or addresses: it goes to an address that only an allowed
    name leads to, and does not name it."""
    ASKED = "asked"
    """Every policy, as what it is; where names are not restricted, a resolver may ask the question
    on the box's behalf."""
    NOTHING = "nothing"
    """A control: what the policy allows, and what must arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the box knows of the world, in one family of addresses."""

    version: int
    interface: str
    own: str
    router: str
    router4: str
    node: str
    """A public address of the node."""
    neighbour: str
    """Another box."""
    name: str
    """The allowed name."""
    zone: str
    """Names below it are allowed too; their name server is the attacker's."""
    allowed_at: str
    """An address of the allowed name, which has it in DNS."""
    listed: str
    """An address in a network that is allowed where the policy allows networks."""
    elsewhere: str
    """A public address that nothing allows, and that a deny list denies."""
    denied: str
    """An address in a denied network, inside one that is allowed where the policy allows any."""
    lease_ends_after: float
    """Seconds from the answer until an address with TTL 0 is not reachable any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the box knows of the world. Pairs are an IPv4 and an IPv6 address."""

    interface: str
    own: tuple[str, str]
    router: tuple[str, str]
    node: tuple[str, str]
    neighbour: tuple[str, str]
    name: str
    zone: str
    allowed_at: tuple[str, str]
    listed: tuple[str, str]
    elsewhere: tuple[str, str]
    denied: tuple[str, str]
    lease_ends_after: float

    @classmethod
    def read(cls, text: str) -> Self:
        """Read JSON."""
        given: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items()
        }
        return cls(**values)

    def of(self, version: int) -> Place:
        """The half of one family."""
        which = version == 6
        return Place(
            version=version,
            interface=self.interface,
            own=self.own[which],
            router=self.router[which],
            router4=self.router[0],
            node=self.node[which],
            neighbour=self.neighbour[which],
            name=self.name,
            zone=self.zone,
            allowed_at=self.allowed_at[which],
            listed=self.listed[which],
            elsewhere=self.elsewhere[which],
            denied=self.denied[which],
            lease_ends_after=self.lease_ends_after,
        )


Run: TypeAlias = Callable[..., Generator[None] | None]
"""Is given a place, a mark (letters and digits), and a value if there are several. A generator:
what comes before its `yield` is done at an earlier step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way out, in one family of addresses, with one value."""

    kind: str
    title: str
    bar: Bar
    version: int
    run: Run
    values: tuple[object, ...]
    is_alone: bool
    """It changes the box: nothing else is attempted meanwhile."""
    begins: str
    """The step at which it begins, if it is not over at once."""
    not_carried: str
    """Why a network that nobody polices does not carry it either. Empty: it does."""
    known_limit: str
    """Where the documents say that Boxwall does not bar it. Empty: it does."""


@dataclass
class Catalogue:
    """All attempts, in order. Their places are their marks."""

    attempts: list[Attempt] = field(default_factory=list)

    def attempt(
        self,
        kind: str,
        title: str,
        bar: Bar,
        *,
        over: Iterable[object] = (),
        versions: tuple[int, ...] = (4, 6),
        is_alone: bool = False,
        begins: str = "",
        not_carried: str = "",
        known_limit: str = "",
    ) -> Callable[[Run], Run]:
        """Put a function into the catalogue: once for each family, and for each value in `over`.

        `{}` in the title is the value; if that is a tuple, its first part.
        """
        cases: list[tuple[object, ...]] = [(one,) for one in over] or [()]

        def add(run: Run) -> Run:
            for case in cases:
                for version in versions:
                    name = f"{title.format(*map(_name_of, case))}, IPv{version}"
                    made = Attempt(
                        kind=kind,
                        title=name,
                        bar=bar,
                        version=version,
                        run=run,
                        values=case,
                        is_alone=is_alone,
                        begins=begins,
                        not_carried=not_carried,
                        known_limit=known_limit,
                    )
                    self.attempts.append(made)
            return run

        return add


def _name_of(value: object) -> object:
    return value[0] if isinstance(value, tuple) else value


CATALOGUE: Final = Catalogue()
attempt: Final = CATALOGUE.attempt


def mark_of(number: int) -> str:
    """The mark of an attempt, by its number. Also the last label of a name."""
    return f"leak{number:05d}mrk"
