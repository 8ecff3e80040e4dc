"""What really happened, to compare streams with: every write, in order.

A state is what a stream shows of a box, as bytes; None is a box that is gone (or not shown).
`policy_write` is what StreamPolicies shows of a change, `box_write` what WatchBoxes does.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from boxwall.v1 import box_pb2, policy_pb2, stream_pb2
from boxwall_server.changes.change import BoxRecord, Change, ChangeKind, entry_of
from boxwall_server.service.encode import box_to_proto

State: TypeAlias = bytes | None


class GuaranteeBroken(AssertionError):
    """A stream did not keep what it promises."""

    def __init__(self, guarantee: str, text: str) -> None:
        super().__init__(f"{guarantee}: {text}")
        self.guarantee = guarantee


@dataclass(frozen=True, slots=True)
class Write:
    """One revision. `box_id` None: nothing that the stream shows."""

    revision: int
    box_id: str | None = None
    state: State = None


class History:
    """Every write, without gaps. With writes b1=x, b2=y, b1=z, the state at 2 is b1=x, b2=y."""

    def __init__(self, writes: Iterable[Write] = ()) -> None:
        self._head = 0
        self._boxes: dict[str, list[Write]] = {}
        for write in writes:
            self.add(write)

    @property
    def head(self) -> int:
        """The newest revision."""
        return self._head

    def add(self, write: Write) -> None:
        """Take in the next write."""
        assert write.revision == self._head + 1, "the history itself has a gap"
        self._head = write.revision
        if write.box_id is not None:
            self._boxes.setdefault(write.box_id, []).append(write)

    def latest(self, box_id: str, at: int) -> Write:
        """The newest write of a box up to `at`; revision 0 if there is none."""
        writes = self._boxes.get(box_id, [])
        upto = bisect_right(writes, at, key=lambda write: write.revision)
        return writes[upto - 1] if upto else Write(0, box_id)

    def state_at(self, revision: int) -> Mapping[str, bytes]:
        """The living boxes at a revision."""
        latest = (self.latest(box_id, revision) for box_id in self._boxes)
        return {w.box_id: w.state for w in latest if w.box_id and w.state is not None}

    def changed(self, after: int, upto: int) -> Mapping[str, Write]:
        """The newest write of each box that was written after `after`, up to `upto`."""
        latest = {box_id: self.latest(box_id, upto) for box_id in self._boxes}
        return {box_id: write for box_id, write in latest.items() if write.revision > after}

    def place(self, box_id: str, state: State, after: int) -> int | None:
        """The revision at which a box got `state`: the first after `after`, else the last there is.

        None: it never had it. A box is gone from revision 0 on.
        """
        places = [0] if state is None else []
        places += [w.revision for w in self._boxes.get(box_id, ()) if w.state == state]
        return next((place for place in places if place > after), places[-1] if places else None)


def policy_state(box_id: str, uid: str, revision: int, policy: policy_pb2.NetworkPolicy) -> bytes:
    """What a policy entry says."""
    entry = stream_pb2.PolicyEntry(
        box_id=box_id, uid=uid, policy_revision=revision, network_policy=policy
    )
    return entry.SerializeToString(deterministic=True)


def box_state(box: box_pb2.Box) -> bytes:
    """What a box in a watch says."""
    return box.SerializeToString(deterministic=True)


def policy_write(change: Change) -> Write:
    """What StreamPolicies shows of a change."""
    if not change.concerns_nodes:
        return Write(change.revision)
    entry = entry_of(change)
    if entry.policy is None:
        return Write(change.revision, entry.box_id)
    policy = policy_pb2.NetworkPolicy.FromString(entry.policy)
    state = policy_state(entry.box_id, entry.uid, entry.revision, policy)
    return Write(change.revision, entry.box_id, state)


def box_write(change: Change, shown: Callable[[BoxRecord], bool] = lambda box: True) -> Write:
    """What WatchBoxes shows of a change to those whose filter is `shown`."""
    seen = change.kind is not ChangeKind.DELETED and shown(change.box)
    state = box_state(box_to_proto(change.box)) if seen else None
    return Write(change.revision, change.box.id, state)
