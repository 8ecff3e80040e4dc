"""What can go wrong in a store, by what the caller can do about it.

StoreError
  Rejected                the write was checked and refused; nothing changed
    BoxNotFound, SnapshotNotFound, NodeNotFound
    BoxExists, SnapshotExists
    EtagMismatch          read again, then write
    RequestIdReused       the request id belongs to another request
    BoxAttached           node_id cannot change while a node hosts the box
    TooManyBoxes          the tenant has as many as it may; delete one, then try again
    NodeFenced            an operator shut the node out
    SessionEnded          the node has a newer stream, maybe at another server
  NotYetRead              this replica has not reached the revision asked for; try again
  StoreUnavailable        nothing is known to be wrong with the request; try again
    DiskFull
    OutcomeUnknown      nobody knows whether the write happened: ask by its request id
  StoreBroken             the file is damaged or read-only: the operator must act
  StoreUnusable           the store cannot be opened as it is: the operator must act
"""

from dataclasses import dataclass


class StoreError(Exception):
    """Base of all errors of a store."""


class Rejected(StoreError):
    """The write was refused; nothing changed."""


@dataclass
class _AboutOne(Rejected):
    id: str

    def __post_init__(self) -> None:
        super().__init__(self.id)


class BoxNotFound(_AboutOne):
    """There is no box with this id in the tenant."""


class SnapshotNotFound(_AboutOne):
    """There is no snapshot with this id in the tenant."""


class NodeNotFound(_AboutOne):
    """No node with this id was ever heard of."""


class BoxExists(_AboutOne):
    """There is a box with this id already."""


class SnapshotExists(_AboutOne):
    """There is a snapshot with this id already."""


class EtagMismatch(_AboutOne):
    """The box was written since the caller read it."""


class RequestIdReused(_AboutOne):
    """The request id was used for another request within the hour."""


class BoxAttached(_AboutOne):
    """A node hosts the box, so its placement cannot change."""


@dataclass
class TooManyBoxes(Rejected):
    """The tenant has as many boxes as it may have."""

    limit: int

    def __post_init__(self) -> None:
        super().__init__(self.limit)


class NodeFenced(_AboutOne):
    """The node is shut out."""


class SessionEnded(_AboutOne):
    """The stream that says so is not its node's newest, or is over."""


class NotYetRead(StoreError):
    """The revision asked for is not known here (yet)."""


class StoreUnavailable(StoreError):
    """The write did not happen, or is not known to have happened; it may be tried again."""


class DiskFull(StoreUnavailable):
    """There is no room for the write. Nothing changed."""


class OutcomeUnknown(StoreUnavailable):
    """The store was lost while it committed, and cannot be asked what became of the write."""


class StoreBroken(StoreError):
    """The file is damaged, or has become read-only. Trying again does not help."""


class StoreUnusable(StoreError):
    """The store cannot be used: its text says why and what the operator can do."""
