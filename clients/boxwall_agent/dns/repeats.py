"""What was said a moment ago to the same query, octet for octet but its id. Pure.

A client that asks again within the second gets the same octets: no name is read, no policy asked,
no record written. Sound because whatever the answer was made of is compared, and nothing is assumed
of leases: whoever takes an answer from here leases its addresses as for any other.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from boxwall.policy import Address, Name, Policy, Surroundings

OF_A_BOX: Final = 128
_LONGEST: Final = 512
"""Octets of a query, and of an answer: what is longer is rare, and made anew."""

_ID: Final = 2
"""Octets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """One answer, and what it was made of."""

    policy: Policy | None
    surroundings: Surroundings
    until: float
    """When its TTLs, or the answer itself, are out of date."""
    name: Name | None
    addresses: Sequence[Address]
    lease: float | None
    """Seconds for which the box must have the addresses; None: it needs no lease."""
    answer: bytes

    def to(self, query: bytes) -> bytes:
        """The answer to this query."""
        return query[:_ID] + self.answer[_ID:]


class Repeats:
    """What boxes heard, each for itself, those first that were not asked for the longest."""

    def __init__(self) -> None:
        self._of_box: dict[str, OrderedDict[bytes, Repeat]] = {}

    def find(
        self,
        box_id: str,
        query: bytes,
        policy: Policy | None,
        surroundings: Surroundings,
        now: float,
    ) -> Repeat | None:
        """Return what answers the query still, under the same policy in the same surroundings."""
        of_box = self._of_box.get(box_id)
        found = None if of_box is None else of_box.get(query[_ID:])
        if (
            of_box is None
            or found is None
            or found.until <= now
            # The same objects, not equal ones: to compare a policy costs more than to ask it.
            or found.policy is not policy
            or found.surroundings is not surroundings
        ):
            return None
        of_box.move_to_end(query[_ID:])
        return found

    def keep(self, box_id: str, query: bytes, repeat: Repeat) -> None:
        """Remember an answer to a query."""
        if len(query) > _LONGEST or len(repeat.answer) > _LONGEST:
            return
        of_box = self._of_box.setdefault(box_id, OrderedDict())
        of_box[query[_ID:]] = repeat
        if len(of_box) > OF_A_BOX:
            of_box.popitem(last=False)

    def forget(self, box_id: str) -> None:
        """The box is gone."""
        self._of_box.pop(box_id, None)
