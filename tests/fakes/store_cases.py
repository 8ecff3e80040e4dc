"""What the store tests share: a checking listener, and mutations with something in every field."""

import itertools
from typing import Any

from boxwall_server.changes.change import PolicyBytes, Timestamp
from boxwall_server.store.base import Store
from boxwall_server.store.mutations import BoxWritten, CreateBox, SetPolicy
from boxwall_server.store.records import Commit, NewHistory

SECOND = 1_000_000
_uids = itertools.count(1)


class Heard:
    """A listener that checks, with every commit, that nothing is missing before it."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []

    def __call__(self, commit: Commit | NewHistory) -> None:
        assert isinstance(commit, Commit)
        expected = self.revisions[-1] + 1 if self.commits else 1
        assert [c.revision for c in commit.changes] == list(
            range(expected, expected + len(commit.changes))
        )
        self.commits.append(commit)

    @property
    def revisions(self) -> list[int]:
        return [change.revision for commit in self.commits for change in commit.changes]


def create(box_id: str = "b1", **fields: Any) -> CreateBox:
    """A box with some policy."""
    defaults: dict[str, Any] = {
        "tenant": "t1",
        "uid": f"uid-{next(_uids):04d}-{box_id}",
        "now": Timestamp(1_000 * SECOND),
        "author": "ann",
        "policy": PolicyBytes(b"policy-0"),
        "mode": "custom",
    }
    return CreateBox(id=box_id, **(defaults | fields))


def set_policy(box_id: str = "b1", policy: bytes = b"policy-1", **fields: Any) -> SetPolicy:
    """Another policy for a box."""
    defaults: dict[str, Any] = {
        "tenant": "t1",
        "now": Timestamp(1_001 * SECOND),
        "author": "bob",
        "mode": "custom",
    }
    return SetPolicy(id=box_id, policy=PolicyBytes(policy), **(defaults | fields))


async def written(store: Store, mutation: CreateBox | SetPolicy) -> BoxWritten:
    """Apply a box write."""
    outcome = await store.apply(mutation)
    assert isinstance(outcome, BoxWritten)
    return outcome
