"""The seven promises of StreamPolicies and WatchBoxes, each a checker of that name.

Feed a `Checkers` with everything that one stream brings, in order:

    checkers = Checkers(history, now=clock.steady(), scope=["b1"])
    checkers.take(clock.steady(), message)      # raises GuaranteeBroken
    checkers.settle(clock.steady())             # when everything should have come
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from boxwall_server.changes.revision import Cursor, cursor_from_token
from guarantees.heard import Heard, Holding, Message, heard
from guarantees.history import GuaranteeBroken, History, State

LIVE_WITHIN: Final = 10.0
"""Seconds within which a message must come."""


class Checker:
    """Watches one promise. `holding` is what the client held before the message (`before`) or
    holds after it (`after`).
    """

    def __init__(self, history: History, now: float, start: Cursor | None) -> None:
        self.history = history
        self.start = start
        self.time = now

    def attach(self, box_ids: Iterable[str], holding: Holding) -> None:
        """The client asks for boxes."""

    def before(self, message: Heard, holding: Holding) -> None:
        """A message has come and is not taken in yet."""

    def after(self, message: Heard, holding: Holding) -> None:
        """A message was taken in."""

    def settle(self, now: float, holding: Holding) -> None:
        """Everything that was written should have come by now."""

    def broken(self, text: str) -> GuaranteeBroken:
        """The error to raise."""
        return GuaranteeBroken(type(self).__name__, text)


class Ordered(Checker):
    """Cursors on a stream never go back."""

    def __init__(self, history: History, now: float, start: Cursor | None) -> None:
        super().__init__(history, now, start)
        self._newest: Cursor | None = None

    def before(self, message: Heard, holding: Holding) -> None:
        cursor, newest = message.cursor, self._newest
        if cursor is None:
            return
        if cursor.revision > self.history.head:
            raise self.broken(f"revision {cursor.revision} is in the future")
        if newest is None and message.kind != "reset" and self.start is not None:
            newest = self.start.at_frame(0)
        if newest is not None:
            self._compare(newest, cursor)
        self._newest = cursor

    def _compare(self, newest: Cursor, cursor: Cursor) -> None:
        if cursor.epoch != newest.epoch:
            raise self.broken("the epoch changed on a stream")
        if cursor.revision < newest.revision:
            raise self.broken(f"revision {cursor.revision} came after {newest.revision}")
        if cursor.revision == newest.revision and not cursor.same_place(newest):
            raise self.broken(f"revision {cursor.revision} is two different commits")
        if cursor.frame and cursor.frame <= newest.frame:
            raise self.broken(f"frame {cursor.frame} came after {newest.frame}")


class Unique(Checker):
    """A change is not sent twice on a stream, for one attachment of its box."""

    def __init__(self, history: History, now: float, start: Cursor | None) -> None:
        super().__init__(history, now, start)
        self._sent: dict[str, int] = {}
        self._repeats_owed: Counter[str] = Counter()
        self._in_reset = False

    def attach(self, box_ids: Iterable[str], holding: Holding) -> None:
        """A box that was sent, or asked for, before is answered once more."""
        self._repeats_owed.update(
            box_id
            for box_id in box_ids
            if box_id in self._sent or holding.concerns(box_id, awaited=True)
        )

    def before(self, message: Heard, holding: Holding) -> None:
        if message.kind == "reset":
            if not self._in_reset:
                self._sent.clear()
            self._in_reset = not message.last
        times = Counter(said.box_id for said in message.said if not said.refused)
        twice = sorted(box_id for box_id, count in times.items() if count > 1)
        if twice:
            raise self.broken(f"{twice} came twice in one message")
        for said in message.said:
            if not said.refused:
                self._sent_once(said.box_id, said.state)

    def _sent_once(self, box_id: str, state: State) -> None:
        before = self._sent.get(box_id)
        place = self.history.place(box_id, state, -1 if before is None else before)
        if place is None:
            return  # Convergent says so
        if before is not None and place <= before:
            if not self._repeats_owed[box_id]:
                raise self.broken(f"{box_id} at {place} came again, after {before}")
            self._repeats_owed[box_id] -= 1
        self._sent[box_id] = place


class Convergent(Checker):
    """Versions of a box in between may be skipped; its last never is."""

    def settle(self, now: float, holding: Holding) -> None:
        at = self.history.head
        hosted = holding.hosted
        for box_id in self.history.changed(0, at) if hosted is None else hosted:
            last = self.history.latest(box_id, at)
            if holding.states.get(box_id) != last.state:
                raise self.broken(f"{box_id} is not as its last write, {last.revision}, left it")


class Complete(Checker):
    """After a reset the client holds exactly the state at that cursor."""

    def after(self, message: Heard, holding: Holding) -> None:
        if message.kind != "reset" or not message.last:
            return
        if message.cursor is None:
            raise self.broken("the last page of a reset has no cursor")
        at = message.cursor.revision
        truth: dict[str, State] = dict(self.history.state_at(at))
        if holding.hosted is not None:
            truth = {box_id: truth.get(box_id) for box_id in holding.hosted}
        for box_id in sorted(truth.keys() | holding.last_reset.keys()):
            if box_id not in holding.last_reset:
                raise self.broken(f"{box_id} is missing from the reset at {at}")
            if box_id not in truth:
                raise self.broken(f"{box_id} is in the reset at {at}, where it was not")
            if holding.last_reset[box_id] != truth[box_id]:
                raise self.broken(f"{box_id} in the reset is not as it was at {at}")


class Resumable(Checker):
    """A stream opened at a cursor misses nothing after it."""

    def after(self, message: Heard, holding: Holding) -> None:
        if message.kind == "reset":
            self.start = None  # it does not continue: Complete says what is due
        if self.start is None or message.cursor is None:
            return
        missed = _missing(self.history, holding, self.start.revision, message.cursor.revision)
        if missed:
            raise self.broken(f"resumed at {self.start.revision}, it was not sent {missed}")


class Bookmarked(Checker):
    """A cursor means that everything up to it, in scope, has been sent."""

    def __init__(self, history: History, now: float, start: Cursor | None) -> None:
        super().__init__(history, now, start)
        self._since: int | None = None

    def after(self, message: Heard, holding: Holding) -> None:
        if message.cursor is None:
            return
        at = message.cursor.revision
        if self._since is not None:
            missed = _missing(self.history, holding, self._since, at)
            if missed:
                raise self.broken(f"the cursor is at {at}, and it was not sent {missed}")
        self._since = at


class Live(Checker):
    """A message comes at least every 10 s."""

    def before(self, message: Heard, holding: Holding) -> None:
        self._must_not_be_silent(message.time)
        self.time = message.time

    def settle(self, now: float, holding: Holding) -> None:
        self._must_not_be_silent(now)

    def _must_not_be_silent(self, now: float) -> None:
        if now - self.time > LIVE_WITHIN:
            raise self.broken(f"nothing came for {now - self.time:.1f} s")


def _missing(history: History, holding: Holding, after: int, upto: int) -> dict[str, int]:
    """Boxes in scope, and their newest writes in the range, that the client does not hold."""
    return {
        box_id: write.revision
        for box_id, write in history.changed(after, upto).items()
        if holding.concerns(box_id)
        and holding.places.get(box_id, -1) < write.revision
        and holding.states.get(box_id) != write.state
    }


ALL: Final = (Ordered, Unique, Convergent, Complete, Resumable, Bookmarked, Live)


class Checkers:
    """All seven, for one stream."""

    def __init__(
        self,
        history: History,
        *,
        now: float,
        scope: Iterable[str] | None = None,
        held: Mapping[str, State] | None = None,
        cursor: str = "",
        tenant: str = "default",
    ) -> None:
        """`scope`, `held` and `cursor` are what the client subscribes with; no scope: every box."""
        start = cursor_from_token(cursor, tenant) if cursor else None
        self._tenant = tenant
        self.holding = Holding(history, scope, held or {})
        self._checkers = [checker(history, now, start) for checker in ALL]

    def attach(self, box_ids: Iterable[str]) -> None:
        """The client has sent Attach."""
        ids = tuple(box_ids)
        for checker in self._checkers:
            checker.attach(ids, self.holding)
        self.holding.attach(ids)

    def detach(self, box_ids: Iterable[str]) -> None:
        """The client has sent Detach."""
        self.holding.detach(box_ids)

    def take(self, now: float, message: Message) -> None:
        """Take in the next message. Raises GuaranteeBroken."""
        self.take_heard(heard(now, message, self._tenant))

    def take_heard(self, message: Heard) -> None:
        """Take in the next message, read already."""
        for checker in self._checkers:
            checker.before(message, self.holding)
        self.holding.take(message)
        for checker in self._checkers:
            checker.after(message, self.holding)

    def settle(self, now: float) -> None:
        """Everything that was written should have come by now. Raises GuaranteeBroken."""
        for checker in self._checkers:
            checker.settle(now, self.holding)
