"""The properties of handles, asynchronous or not: what was last heard. Pure."""

from collections.abc import Mapping
from datetime import datetime

from boxwall.policy import PolicyWarning
from boxwall.sdk.network_policy import NetworkPolicy
from boxwall.sdk.values import BoxState, Enforcement, SnapshotState


class BoxView:
    """The properties of a handle on a box, asynchronous or not: what was last heard of it."""

    @property
    def state(self) -> BoxState:
        """Everything below as one immutable value."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        """The id of the box."""
        return self.state.id

    @property
    def uid(self) -> str:
        """Never used again: a new box with an old id has another uid."""
        return self.state.uid

    @property
    def name(self) -> str:
        """A name for people. Empty: none."""
        return self.state.name

    @property
    def node_id(self) -> str:
        """The node that a scheduler placed the box on. Empty: any node can attach it."""
        return self.state.node_id

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels for selecting boxes. Read-only; change them with `update`."""
        return self.state.labels

    @property
    def runtime(self) -> str:
        """Free text about what runs in the box."""
        return self.state.runtime

    @property
    def network_policy(self) -> NetworkPolicy:
        """The policy as stored, canonical."""
        return self.state.network_policy

    @property
    def policy_revision(self) -> int:
        """Revision of the write that set the policy."""
        return self.state.policy_revision

    @property
    def enforcement(self) -> Enforcement:
        """Whether the policy was in force when this was heard. UNKNOWN for boxes from a watch."""
        return self.state.enforcement

    @property
    def expire_time(self) -> datetime | None:
        """When the box ends by itself. None: never."""
        return self.state.expire_time

    @property
    def source_snapshot(self) -> str:
        """Id of the snapshot the box was made from. Empty: none."""
        return self.state.source_snapshot

    @property
    def create_time(self) -> datetime | None:
        """When the box was made."""
        return self.state.create_time

    @property
    def update_time(self) -> datetime | None:
        """When it was last written."""
        return self.state.update_time

    @property
    def etag(self) -> str:
        """Changes with every write; give it to a write to make sure that nothing came between."""
        return self.state.etag

    @property
    def warnings(self) -> tuple[PolicyWarning, ...]:
        """What is probably not meant about the policy. Only after a write of this handle."""
        return self.state.warnings

    def __repr__(self) -> str:
        state = self.state
        name = f" {state.name!r}" if state.name else ""
        mode = state.network_policy.mode.value
        return f"<{type(self).__name__} {state.id}{name} {mode} {state.enforcement.state.value}>"


class SnapshotView:
    """The properties of a handle on a snapshot, asynchronous or not."""

    @property
    def state(self) -> SnapshotState:
        """Everything below as one immutable value."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        """The id of the snapshot."""
        return self.state.id

    @property
    def box_id(self) -> str:
        """The box it was taken from."""
        return self.state.box_id

    @property
    def network_policy(self) -> NetworkPolicy:
        """The policy that box had."""
        return self.state.network_policy

    @property
    def create_time(self) -> datetime | None:
        """When it was taken."""
        return self.state.create_time

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {self.box_id}>"
