"""Boxes, blocking. `boxwall.sdk.box` says what each call promises; nothing is decided here."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import ClassVar, Self, TypeAlias

from boxwall.policy import Destination, PolicyWarning, Verdict
from boxwall.sdk import box as async_box
from boxwall.sdk.box import DEFAULT_WAIT, LONGEST_TTL, BoxGone
from boxwall.sdk.encode import LabelFilter, ModeLike, Seconds
from boxwall.sdk.errors import BoxNotFound
from boxwall.sdk.network_policy import PolicyLike
from boxwall.sdk.values import BoxState, PolicyRevision, Refusal
from boxwall.sdk.views import BoxView
from boxwall.sync.client import Client
from boxwall.sync.iterate import Pages, Stream
from boxwall.sync.loop_thread import LoopThread
from boxwall.sync.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class BoxChanged:
    """As `boxwall.BoxChanged`, with a blocking box."""

    box: "Box"

    @property
    def box_id(self) -> str:
        """The id of the box."""
        return self.box.id


BoxChange: TypeAlias = BoxChanged | BoxGone


class Box(BoxView):
    """As `boxwall.Box`, blocking."""

    _kind: ClassVar[type[async_box.Box]] = async_box.Box

    def __init__(self, thread: LoopThread, box: async_box.Box) -> None:
        """For the SDK itself; use `create`, `get` or `list`."""
        self._thread = thread
        self._async = box

    @property
    def state(self) -> BoxState:
        """What was last heard, as one immutable value."""
        return self._async.state

    @classmethod
    def create(
        cls,
        *,
        network_policy: PolicyLike | None = None,
        runtime: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        box_id: str = "",
        node_id: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        client: Client | None = None,
    ) -> Self:
        """Make a box. See `boxwall.Box.create`."""
        thread, given = Client.parts_of(client)
        box = cls._kind.create(
            network_policy=network_policy,
            runtime=runtime,
            name=name,
            labels=labels,
            box_id=box_id,
            node_id=node_id,
            request_id=request_id,
            validate_only=validate_only,
            client=given,
        )
        return cls(thread, thread.run(box))

    @classmethod
    def from_snapshot(
        cls,
        snapshot: str | Snapshot,
        *,
        network_policy: PolicyLike | None = None,
        runtime: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        box_id: str = "",
        node_id: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        client: Client | None = None,
    ) -> Self:
        """Make a box with the policy of a snapshot. See `boxwall.Box.from_snapshot`."""
        thread, given = Client.parts_of(client)
        box = cls._kind.from_snapshot(
            snapshot if isinstance(snapshot, str) else snapshot.id,
            network_policy=network_policy,
            runtime=runtime,
            name=name,
            labels=labels,
            box_id=box_id,
            node_id=node_id,
            request_id=request_id,
            validate_only=validate_only,
            client=given,
        )
        return cls(thread, thread.run(box))

    @classmethod
    def get(cls, box_id: str, *, client: Client | None = None) -> Self:
        """Return a handle on an existing box. See `boxwall.Box.get`."""
        thread, given = Client.parts_of(client)
        return cls(thread, thread.run(cls._kind.get(box_id, client=given)))

    @classmethod
    def list(
        cls,
        *,
        label: LabelFilter | None = None,
        node: str = "",
        name_prefix: str = "",
        mode: ModeLike | None = None,
        client: Client | None = None,
    ) -> Pages[async_box.Box, Self]:
        """Return the boxes that match, to walk through. See `boxwall.Box.list`."""
        thread, given = Client.parts_of(client)
        found = cls._kind.list(
            label=label, node=node, name_prefix=name_prefix, mode=mode, client=given
        )
        return Pages(thread, found, lambda box: cls(thread, box))

    @classmethod
    def watch(
        cls,
        *,
        label: LabelFilter | None = None,
        node: str = "",
        name_prefix: str = "",
        mode: ModeLike | None = None,
        client: Client | None = None,
    ) -> Stream[async_box.BoxChange, BoxChange]:
        """Walk through every change of the boxes that match, for ever. See `boxwall.Box.watch`."""
        thread, given = Client.parts_of(client)
        changes = cls._kind.watch(
            label=label, node=node, name_prefix=name_prefix, mode=mode, client=given
        )

        def convert(change: async_box.BoxChange) -> BoxChange:
            return change if isinstance(change, BoxGone) else BoxChanged(cls(thread, change.box))

        return Stream(thread, changes, convert)

    def update_network_policy(
        self,
        network_policy: PolicyLike,
        *,
        wait_timeout: Seconds | None = DEFAULT_WAIT,
        etag: str = "",
        request_id: str | None = None,
    ) -> Self:
        """Replace the policy. See `boxwall.Box.update_network_policy`."""
        self._thread.run(
            self._async.update_network_policy(
                network_policy, wait_timeout=wait_timeout, etag=etag, request_id=request_id
            )
        )
        return self

    def validate_network_policy(
        self, network_policy: PolicyLike, *, etag: str = ""
    ) -> tuple[PolicyWarning, ...]:
        """Check a policy and change nothing. See `boxwall.Box.validate_network_policy`."""
        return self._thread.run(self._async.validate_network_policy(network_policy, etag=etag))

    def wait_enforced(self, *, timeout: Seconds = DEFAULT_WAIT) -> Self:
        """Wait until the policy is in force. See `boxwall.Box.wait_enforced`."""
        self._thread.run(self._async.wait_enforced(timeout=timeout))
        return self

    def update(
        self,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        runtime: str | None = None,
        node_id: str | None = None,
        ttl: Seconds | None = None,
        expire_time: datetime | None = None,
        never_expires: bool = False,
        etag: str = "",
    ) -> Self:
        """Change what is not policy. See `boxwall.Box.update`."""
        self._thread.run(
            self._async.update(
                name=name,
                labels=labels,
                runtime=runtime,
                node_id=node_id,
                ttl=ttl,
                expire_time=expire_time,
                never_expires=never_expires,
                etag=etag,
            )
        )
        return self

    def refresh(self) -> Self:
        """Read the box again. See `boxwall.Box.refresh`."""
        self._thread.run(self._async.refresh())
        return self

    def delete(self, *, wait_timeout: Seconds | None = None, etag: str = "") -> None:
        """End the box. See `boxwall.Box.delete`."""
        self._thread.run(self._async.delete(wait_timeout=wait_timeout, etag=etag))

    def check(self, destination: Destination | str) -> Verdict:
        """Judge a destination by the box's policy. See `boxwall.Box.check`."""
        return self._thread.run(self._async.check(destination))

    def check_all(self, destinations: Iterable[Destination | str]) -> tuple[Verdict, ...]:
        """Judge destinations; one verdict for each, in order. See `boxwall.Box.check_all`."""
        return self._thread.run(self._async.check_all(destinations))

    def policy_history(self) -> Pages[PolicyRevision, PolicyRevision]:
        """Return the policies the box has had, newest first."""
        return Pages(self._thread, self._async.policy_history(), lambda revision: revision)

    def snapshot(self, *, snapshot_id: str = "", request_id: str | None = None) -> Snapshot:
        """Remember the policy the box has now. See `boxwall.Box.snapshot`."""
        snapshot = self._async.snapshot(snapshot_id=snapshot_id, request_id=request_id)
        return Snapshot(self._thread, self._thread.run(snapshot))

    def refusals(self, *, recent: int = 0) -> Stream[Refusal, Refusal]:
        """Walk through what nodes refuse to this box, as it happens. See `boxwall.Box.refusals`."""
        return Stream(self._thread, self._async.refusals(recent=recent), lambda refusal: refusal)

    @classmethod
    def watch_refusals(
        cls,
        *,
        label: LabelFilter | None = None,
        recent: int = 0,
        client: Client | None = None,
    ) -> Stream[Refusal, Refusal]:
        """Walk through what nodes refuse to boxes. See `boxwall.Box.watch_refusals`."""
        thread, given = Client.parts_of(client)
        refusals = cls._kind.watch_refusals(label=label, recent=recent, client=given)
        return Stream(thread, refusals, lambda refusal: refusal)

    @classmethod
    def recent_refusals(
        cls,
        *,
        box_id: str = "",
        label: LabelFilter | None = None,
        limit: int = 1_000,
        client: Client | None = None,
    ) -> tuple[Refusal, ...]:
        """Return the newest refusals, oldest first. See `boxwall.Box.recent_refusals`."""
        thread, given = Client.parts_of(client)
        return thread.run(
            cls._kind.recent_refusals(box_id=box_id, label=label, limit=limit, client=given)
        )


class EphemeralBox(Box):
    """As `boxwall.EphemeralBox`, blocking; as a context it is deleted at the end of the block."""

    _kind: ClassVar[type[async_box.Box]] = async_box.EphemeralBox

    @classmethod
    def create(
        cls,
        *,
        ttl: Seconds = LONGEST_TTL,
        network_policy: PolicyLike | None = None,
        runtime: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        box_id: str = "",
        node_id: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        client: Client | None = None,
    ) -> Self:
        """Make a box that ends after `ttl`. See `boxwall.EphemeralBox.create`."""
        thread, given = Client.parts_of(client)
        box = async_box.EphemeralBox.create(
            ttl=ttl,
            network_policy=network_policy,
            runtime=runtime,
            name=name,
            labels=labels,
            box_id=box_id,
            node_id=node_id,
            request_id=request_id,
            validate_only=validate_only,
            client=given,
        )
        return cls(thread, thread.run(box))

    @classmethod
    def from_snapshot(
        cls,
        snapshot: str | Snapshot,
        *,
        ttl: Seconds = LONGEST_TTL,
        network_policy: PolicyLike | None = None,
        runtime: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        box_id: str = "",
        node_id: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
        client: Client | None = None,
    ) -> Self:
        """Make one with the policy of a snapshot. See `boxwall.EphemeralBox.from_snapshot`."""
        thread, given = Client.parts_of(client)
        box = async_box.EphemeralBox.from_snapshot(
            snapshot if isinstance(snapshot, str) else snapshot.id,
            ttl=ttl,
            network_policy=network_policy,
            runtime=runtime,
            name=name,
            labels=labels,
            box_id=box_id,
            node_id=node_id,
            request_id=request_id,
            validate_only=validate_only,
            client=given,
        )
        return cls(thread, thread.run(box))

    def extend(self, ttl: Seconds) -> Self:
        """Let the box live for `ttl` from now."""
        return self.update(ttl=ttl)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Its time may have come before the end of the block.
        with suppress(BoxNotFound):
            self.delete()
