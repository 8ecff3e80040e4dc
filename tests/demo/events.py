"""What happens in the demonstration, as values for whoever shows it. Pure."""

from dataclasses import dataclass
from typing import TypeAlias

from boxwall import Refusal
from demo.story import Step, Target


@dataclass(frozen=True, slots=True)
class Began:
    """A policy is in force: the call that asked for it has returned, after so long."""

    number: int
    of: int
    step: Step
    revision: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one target."""

    target: Target
    reached: bool
    milliseconds: float
    """Until its first answer, or its end."""
    refusal: Refusal | None
    """What the agent says, if it was refused."""
    is_expected: bool


@dataclass(frozen=True, slots=True)
class Stopped:
    """A download has ended. `milliseconds`: from the return of the call to its last byte; None: it
    did not end.
    """

    name: str
    milliseconds: float | None
    octets: int
    is_expected: bool


@dataclass(frozen=True, slots=True)
class GoesOn:
    """A download goes on: so many more octets came while one looked."""

    name: str
    octets: int
    is_expected: bool


Event: TypeAlias = Began | Tried | Stopped | GoesOn
