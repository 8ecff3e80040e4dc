"""What a watcher of boxes has been told, so that a reset becomes the changes it really is. Pure.
Pure.

After a reconnect too long the server sends the whole state again. Whoever watches wants to hear
only what is different, and what has gone meanwhile. So this remembers, for every box in scope, the
etag of what was last reported (about 200 bytes for a box):

    held.page(["b1@1", "b2@1"], last=True)   -> changed b1, changed b2
    held.page(["b2@1", "b3@1"], last=True)   -> gone b1, changed b3
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from boxwall.sdk.values import BoxState


@dataclass(frozen=True, slots=True)
class Changed:
    """The box is new, or was written."""

    box: BoxState


@dataclass(frozen=True, slots=True)
class Gone:
    """The box is gone, or the filter does not match it any more."""

    box_id: str


HeldChange: TypeAlias = Changed | Gone


@dataclass(slots=True)
class Held:
    """The boxes that were reported and not reported gone."""

    _etags: dict[str, tuple[str, str]] = field(default_factory=dict)
    _pages: list[BoxState] = field(default_factory=list)

    def connected(self) -> None:
        """A new stream begins: pages of a reset that did not end are void."""
        self._pages = []

    def page(self, boxes: Iterable[BoxState], *, last: bool) -> list[HeldChange]:
        """Take a page of the whole state. Only the last gives changes: first what has gone."""
        self._pages.extend(boxes)
        if not last:
            return []
        boxes, self._pages = self._pages, []
        ids = {box.id for box in boxes}
        gone: list[HeldChange] = [Gone(box_id) for box_id in self._etags if box_id not in ids]
        self._forget(gone)
        return gone + self.changed(Changed(box) for box in boxes)

    def changed(self, changes: Iterable[HeldChange]) -> list[HeldChange]:
        """Take single changes; return those that are news."""
        news: list[HeldChange] = []
        for change in changes:
            match change:
                case Changed(box):
                    known = (box.uid, box.etag)
                    if self._etags.get(box.id) != known or not box.etag:
                        self._etags[box.id] = known
                        news.append(change)
                case Gone(box_id):
                    if self._etags.pop(box_id, None) is not None:
                        news.append(change)
        return news

    def _forget(self, gone: Iterable[HeldChange]) -> None:
        for change in gone:
            if isinstance(change, Gone):
                del self._etags[change.box_id]
