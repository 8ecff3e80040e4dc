"""Boxes as they stood after their last write: what is written again is not looked up again. Pure.

Only for a store that nobody else writes to. With room for 2, after writes of a, b, a, c: a and c.
"""

from collections.abc import Collection
from typing import Final

from boxwall_server.changes.change import BoxRecord
from boxwall_server.store.batch_rows import Key, Rows, Writes

MOST_BOXES: Final = 4_096
LARGEST_POLICY: Final = 4_096
"""Bytes. Boxes with larger policies are looked up: memory stays bounded, and they are few."""


class RecentBoxes:
    """The rows of boxes that were written lately, with the nodes that host them."""

    def __init__(self, most: int = MOST_BOXES) -> None:
        self._most = most
        self._known: dict[Key, tuple[BoxRecord, tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def give(self, rows: Rows, keys: Collection[Key]) -> list[Key]:
        """Add to `rows` what is known of these boxes. Returns the others: look those up."""
        others = []
        for key in keys:
            known = self._known.get(key)
            if known is None:
                others.append(key)
                continue
            rows.boxes[key], hosts = known
            if hosts:
                rows.hosts[key] = set(hosts)
        return others

    def keep(self, rows: Rows, writes: Writes) -> None:
        """Take in what was committed: `writes`, and `rows` as they stood after the plan."""
        for attachment in writes.attachments:
            self._known.pop(Key(attachment.tenant, attachment.box_id), None)
        for key, box in writes.boxes.items():
            self._known.pop(key, None)
            if box is not None and len(box.policy) <= LARGEST_POLICY:
                self._known[key] = (box, tuple(rows.hosts.get(key, ())))
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    def forget(self) -> None:
        """Know nothing any more: nobody knows what was committed."""
        self._known.clear()
