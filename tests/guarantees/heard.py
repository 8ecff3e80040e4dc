"""Messages of StreamPolicies and WatchBoxes in one form, and what a client holds after them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from boxwall.v1 import box_service_pb2, enforcement_service_pb2, stream_pb2
from boxwall_server.changes.revision import Cursor, cursor_from_token
from guarantees.history import GuaranteeBroken, History, State, box_state

Message: TypeAlias = (
    enforcement_service_pb2.StreamPoliciesResponse | box_service_pb2.WatchBoxesResponse
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a message says of one box."""

    box_id: str
    state: State
    refused: bool = False
    """The node may not host it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A message, and when it came (seconds of a steady clock)."""

    time: float
    kind: str
    """reset, changes, bookmark, go_away or fenced."""
    cursor: Cursor | None = None
    said: tuple[Said, ...] = ()
    last: bool = False


def heard(time: float, message: Message, tenant: str = "default") -> Heard:
    """Read a message."""
    return Heard(
        time=time,
        kind=_kind(message),
        cursor=cursor_from_token(message.cursor, tenant) if message.cursor else None,
        said=tuple(_said(message)),
        last=message.HasField("reset") and message.reset.last,
    )


def _kind(message: Message) -> str:
    watched = isinstance(message, box_service_pb2.WatchBoxesResponse)
    return str(message.WhichOneof("event" if watched else "message"))


def _said(message: Message) -> Iterable[Said]:
    if isinstance(message, box_service_pb2.WatchBoxesResponse):
        yield from (Said(box.id, box_state(box)) for box in message.reset.boxes)
        for change in message.changes.changes:
            gone = change.WhichOneof("state") == "gone"
            yield Said(change.box_id, None if gone else box_state(change.box))
        return
    for entry in (*message.reset.boxes, *message.changes.entries):
        yield _said_of_entry(entry)


def _said_of_entry(entry: stream_pb2.PolicyEntry) -> Said:
    refused = entry.WhichOneof("state") == "refused"
    return Said(entry.box_id, entry_state(entry), refused=refused)


def entry_state(entry: stream_pb2.PolicyEntry) -> State:
    """What an entry says of its box."""
    match entry.WhichOneof("state"):
        case "network_policy":
            return entry.SerializeToString(deterministic=True)
        case "tombstone" | "refused":
            return None
        case _:
            raise AssertionError(f"an entry that says nothing: {entry}")


class Holding:
    """What a client holds that follows the rules, and at which place of each box's history.

    `scope` None is every box. A box that was attached just now is in scope once it was answered.
    """

    def __init__(
        self, history: History, scope: Iterable[str] | None, held: Mapping[str, State]
    ) -> None:
        self._history = history
        self.states: dict[str, State] = dict(held)
        self.places: dict[str, int] = {
            box_id: history.place(box_id, state, -1) or 0 for box_id, state in held.items()
        }
        self._scope = None if scope is None else set(scope)
        self._awaited: set[str] = set()
        self._in_reset = False
        self.last_reset: dict[str, State] = {}
        """What the newest reset said, page by page."""

    def concerns(self, box_id: str, *, awaited: bool = False) -> bool:
        """Whether the client is told of a box; `awaited` counts those it has just attached."""
        return self._scope is None or box_id in self._scope or (awaited and box_id in self._awaited)

    @property
    def hosted(self) -> frozenset[str] | None:
        """The scope. None: every box."""
        return None if self._scope is None else frozenset(self._scope)

    def attach(self, box_ids: Iterable[str]) -> None:
        """The client has asked for more boxes."""
        self._awaited.update(box_ids)

    def detach(self, box_ids: Iterable[str]) -> None:
        """The client has given boxes up."""
        for box_id in box_ids:
            self._awaited.discard(box_id)
            self.states.pop(box_id, None)
            self.places.pop(box_id, None)
            if self._scope is not None:
                self._scope.discard(box_id)

    def place(self, said: Said) -> int:
        """Where in its box's history an entry stands. Raises GuaranteeBroken if nowhere."""
        place = self._history.place(said.box_id, said.state, self.places.get(said.box_id, -1))
        if place is None:
            raise GuaranteeBroken("Convergent", f"{said.box_id} never was what was sent of it")
        return place

    def take(self, message: Heard) -> None:
        """Take in a message. After a reset that replaced all, `last_reset` is what is held."""
        if message.kind == "reset" and not self._in_reset:
            self.last_reset, self._in_reset = {}, True
        for said in message.said:
            self._put(said, message.kind)
        if message.last:
            self._in_reset = False
            for box_id in set(self.states) - set(self.last_reset):
                del self.states[box_id]
                self.places.pop(box_id, None)

    def _put(self, said: Said, kind: str) -> None:
        if said.refused:
            self.detach([said.box_id])
            return
        place = self.place(said)
        if self._scope is not None:
            if said.box_id not in self._scope | self._awaited:
                return  # it was on its way when the box was detached
            self._scope.add(said.box_id)
            self._awaited.discard(said.box_id)
        self.states[said.box_id] = said.state
        self.places[said.box_id] = place
        if kind == "reset":
            self.last_reset[said.box_id] = said.state
