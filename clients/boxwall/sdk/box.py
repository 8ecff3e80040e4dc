"""Boxes: make, read, change, judge, watch, end.

Longer than 300 lines because it is the surface that users read from top to bottom; each method
builds one request.
"""

import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self, TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask

from boxwall.policy import Destination, PolicyWarning, Verdict
from boxwall.sdk.client import Client
from boxwall.sdk.connection import Connection
from boxwall.sdk.decode import (
    box_from_proto,
    enforcement_from_proto,
    policy_revision_from_proto,
    refusal_from_proto,
    snapshot_from_proto,
    verdict_from_proto,
    warnings_from_proto,
)
from boxwall.sdk.default_client import connection_of
from boxwall.sdk.encode import (
    LabelFilter,
    ModeLike,
    Seconds,
    box_filter,
    box_filter_to_proto,
    duration_to_proto,
    labels_of,
    policy_message,
    seconds,
    time_to_proto,
)
from boxwall.sdk.errors import BoxNotFound, NotEnforced, UnexpectedAnswer
from boxwall.sdk.held import Changed, Gone
from boxwall.sdk.network_policy import PolicyLike
from boxwall.sdk.pages import Pages
from boxwall.sdk.snapshot import Snapshot
from boxwall.sdk.values import BoxState, PolicyRevision, Refusal
from boxwall.sdk.views import BoxView
from boxwall.sdk.watch import BoxSource, RefusalSource, follow
from boxwall.v1 import box_pb2
from boxwall.v1 import box_service_pb2 as pb
from boxwall.wire.policies import destination_to_proto

DEFAULT_WAIT: Final = 30.0
"""Seconds."""
LONGEST_TTL: Final = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class BoxChanged:
    """The box is new, or was written; `box` is how it stands (its `enforcement` is not watched)."""

    box: "Box"

    @property
    def box_id(self) -> str:
        """The id of the box."""
        return self.box.id


@dataclass(frozen=True, slots=True)
class BoxGone:
    """The box is gone, or the filter does not match it any more."""

    box_id: str


BoxChange: TypeAlias = BoxChanged | BoxGone


class Box(BoxView):
    """A handle on a box: what was last heard of it, and calls about it.

    A call that hears something new replaces `box.state`. All calls raise errors of the tree in
    `boxwall.sdk.errors`, of which each docstring names those that are particular to it. Where
    `client` is not given, the default client made from the environment is used.
    """

    def __init__(self, state: BoxState, connection: Connection) -> None:
        """For the SDK itself; use `create`, `get` or `list`."""
        self._state = state
        self._connection = connection

    @property
    def state(self) -> BoxState:
        """What was last heard, as one immutable value."""
        return self._state

    # Making and finding boxes.

    @classmethod
    async def create(
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
        """Make a box. Without a policy it gets the server's default, allow-all unless configured.

        `box_id` empty: the server makes one. `node_id`: only that node can attach the box.
        `request_id` (a UUID; made if absent) is what makes a repetition safe: within an hour the
        same request with the same id returns the first answer. With `validate_only` nothing is
        made, and the handle shows what would be. Raises InvalidPolicy (locally, before anything is
        sent) and AlreadyExists.
        """
        box = box_pb2.Box(name=name, node_id=node_id, labels=dict(labels or {}), runtime=runtime)
        if network_policy is not None:
            box.network_policy.CopyFrom(policy_message(network_policy))
        return await cls._create(box, box_id, request_id, validate_only, client)

    @classmethod
    async def from_snapshot(
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
        """Make a box with the policy of a snapshot (or its id), unless another is given.

        As `create` otherwise. Raises SnapshotNotFound.
        """
        box = box_pb2.Box(name=name, node_id=node_id, labels=dict(labels or {}), runtime=runtime)
        box.source_snapshot = snapshot if isinstance(snapshot, str) else snapshot.id
        if network_policy is not None:
            box.network_policy.CopyFrom(policy_message(network_policy))
        return await cls._create(box, box_id, request_id, validate_only, client)

    @classmethod
    async def get(cls, box_id: str, *, client: Client | None = None) -> Self:
        """Return a handle on an existing box. Raises BoxNotFound."""
        connection = await connection_of(client)
        answer = await connection.call(
            connection.boxes.GetBox, lambda _: pb.GetBoxRequest(box_id=box_id), repeatable=True
        )
        return cls(box_from_proto(answer), connection)

    @classmethod
    def list(
        cls,
        *,
        label: LabelFilter | None = None,
        node: str = "",
        name_prefix: str = "",
        mode: ModeLike | None = None,
        client: Client | None = None,
    ) -> Pages[Self]:
        """Return the boxes that match everything given, by id.

        `await Box.list()` gives a list; `async for box in Box.list()` fetches as it goes. `node` is
        where a box is placed or attached.
        """
        where = box_filter_to_proto(box_filter(label, node, name_prefix, mode))

        async def fetch(token: str) -> tuple[Sequence[Self], str]:
            connection = await connection_of(client)
            answer: pb.ListBoxesResponse = await connection.call(
                connection.boxes.ListBoxes,
                lambda _: pb.ListBoxesRequest(page_token=token, filter=where),
                repeatable=True,
            )
            boxes = [cls(box_from_proto(box), connection) for box in answer.boxes]
            return boxes, answer.next_page_token

        return Pages(fetch)

    @classmethod
    async def watch(
        cls,
        *,
        label: LabelFilter | None = None,
        node: str = "",
        name_prefix: str = "",
        mode: ModeLike | None = None,
        client: Client | None = None,
    ) -> AsyncGenerator[BoxChange, None]:
        """Yield every change of the boxes that match, for ever, beginning with all there are.

        Interruptions are bridged: the watch connects again and continues, so that a dictionary kept
        by these changes is right whenever nothing is on its way. Intermediate versions of a box may
        be skipped, its last never is. When the server must send the whole state again, only what is
        different is yielded, what has gone first.

        Ends only by an error that will not pass (Unauthenticated, PermissionDenied,
        UnexpectedAnswer ...) or when the caller stops; `contextlib.aclosing` closes it at once.
        """
        source = BoxSource(box_filter(label, node, name_prefix, mode))
        connection = await connection_of(client)
        async with aclosing(follow(connection, source)) as changes:
            async for change in changes:
                match change:
                    case Changed(box):
                        yield BoxChanged(cls(box, connection))
                    case Gone(box_id):
                        yield BoxGone(box_id)

    # Changing a box.

    async def update_network_policy(
        self,
        network_policy: PolicyLike,
        *,
        wait_timeout: Seconds | None = DEFAULT_WAIT,
        etag: str = "",
        request_id: str | None = None,
    ) -> Self:
        """Replace the policy; on return it is durable, and in force on every node that hosts the
        box.

        If no node hosts the box it returns at once. Raises NotEnforced if after `wait_timeout`
        (seconds or timedelta, at most 5 minutes) a node has not acknowledged it, is out of contact
        or could not apply it: the write stands, and `wait_enforced` waits on. With None it does not
        wait and never raises that. `etag`: raises Conflict unless the box still has it. Raises
        InvalidPolicy (locally, before anything is sent) and BoxNotFound. See `warnings` after.
        """
        request = pb.UpdateNetworkPolicyRequest(
            box_id=self.id,
            network_policy=policy_message(network_policy),
            etag=etag,
            request_id=request_id or str(uuid.uuid4()),
        )
        wait = None if wait_timeout is None else seconds(wait_timeout)
        answer = await self._connection.call(
            self._connection.boxes.UpdateNetworkPolicy,
            _with_wait(request, wait),
            repeatable=True,
            wait=wait or 0.0,
        )
        self._state = box_from_proto(answer)
        if wait is not None:
            self._require_enforced()
        return self

    async def validate_network_policy(
        self, network_policy: PolicyLike, *, etag: str = ""
    ) -> tuple[PolicyWarning, ...]:
        """Check a policy as `update_network_policy` would, change nothing, return the warnings.

        Raises InvalidPolicy; with an `etag`, Conflict if the box was written since.
        """
        request = pb.UpdateNetworkPolicyRequest(
            box_id=self.id,
            network_policy=policy_message(network_policy),
            etag=etag,
            validate_only=True,
        )
        answer: box_pb2.Box = await self._connection.call(
            self._connection.boxes.UpdateNetworkPolicy, lambda _: request, repeatable=True
        )
        return warnings_from_proto(answer.warnings)

    async def wait_enforced(self, *, timeout: Seconds = DEFAULT_WAIT) -> Self:
        """Wait until the policy that this handle knows, or a later one, is in force.

        Returns at once if no node hosts the box. Raises NotEnforced as `update_network_policy`.
        """
        request = pb.WaitEnforcedRequest(box_id=self.id, policy_revision=self.policy_revision)
        wait = seconds(timeout)

        def with_wait(left: float) -> pb.WaitEnforcedRequest:
            request.timeout.CopyFrom(duration_to_proto(left))
            return request

        answer = await self._connection.call(
            self._connection.boxes.WaitEnforced, with_wait, repeatable=True, wait=wait
        )
        self._state = box_from_proto(answer)
        self._require_enforced()
        return self

    async def update(
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
        """Change what is not policy. None leaves a field as it is, empty clears it.

        `labels` replaces all labels. Of `ttl` (from now), `expire_time` and `never_expires` give
        one at most. `etag`: raises Conflict unless the box still has it. Raises BoxNotFound, and
        Conflict for `node_id` while a node hosts the box. Never repeated by itself: somebody may
        have written in between.
        """
        box = box_pb2.Box(id=self.id)
        mask = _update_mask(box, name=name, labels=labels, runtime=runtime, node_id=node_id)
        mask += _expiration_mask(box, ttl, expire_time, never_expires)
        request = pb.UpdateBoxRequest(box=box, update_mask=FieldMask(paths=mask), etag=etag)
        answer = await self._connection.call(
            self._connection.boxes.UpdateBox, lambda _: request, repeatable=False
        )
        self._state = box_from_proto(answer)
        return self

    async def refresh(self) -> Self:
        """Read the box again. Raises BoxNotFound, also if another box has its id now."""
        answer = await self._connection.call(
            self._connection.boxes.GetBox,
            lambda _: pb.GetBoxRequest(box_id=self.id),
            repeatable=True,
        )
        state = box_from_proto(answer)
        if state.uid != self.uid:
            raise BoxNotFound(
                f"box {self.id} was deleted, and another box has its id now; get that one",
                resource=("box", self.id),
            )
        self._state = state
        return self

    async def delete(self, *, wait_timeout: Seconds | None = None, etag: str = "") -> None:
        """End the box; on return that is durable.

        With `wait_timeout` also waits until every node that hosts it denies everything for it, or
        raises NotEnforced; nodes do so anyway, sooner or later. Raises BoxNotFound, and Conflict
        unless the box still has `etag`. Never repeated by itself.
        """
        request = pb.DeleteBoxRequest(box_id=self.id, etag=etag)
        wait = None if wait_timeout is None else seconds(wait_timeout)
        if wait is not None:
            request.wait_timeout.CopyFrom(duration_to_proto(wait))
        answer: pb.DeleteBoxResponse = await self._connection.call(
            self._connection.boxes.DeleteBox,
            lambda _: request,
            repeatable=False,
            wait=wait or 0.0,
        )
        enforcement = enforcement_from_proto(answer.enforcement)
        if wait is not None and not enforcement.is_settled_well:
            raise NotEnforced(self._state, enforcement)

    # Asking about a box.

    async def check(self, destination: Destination | str) -> Verdict:
        """Judge a destination ("api.github.com:443") by the box's policy, stored just now.

        A Verdict has no truth value: ask for `verdict.allowed`. Raises InvalidDestination, locally.
        """
        return (await self.check_all([destination]))[0]

    async def check_all(self, destinations: Iterable[Destination | str]) -> "tuple[Verdict, ...]":
        """Judge up to 1,000 destinations; one verdict for each, in order.

        The policy is at least as new as what this handle has heard of. Raises InvalidDestination.
        """
        asked = [Destination.parse(d) if isinstance(d, str) else d for d in destinations]
        if not asked:
            return ()
        answer: pb.CheckEgressResponse = await self._connection.call(
            self._connection.boxes.CheckEgress,
            lambda _: pb.CheckEgressRequest(
                box_id=self.id,
                destinations=map(destination_to_proto, asked),
                at_least_revision=self.policy_revision,
            ),
            repeatable=True,
        )
        if len(answer.verdicts) != len(asked):
            raise UnexpectedAnswer("the server judged another number of destinations than asked")
        return tuple(map(verdict_from_proto, answer.verdicts, asked))

    def policy_history(self) -> Pages[PolicyRevision]:
        """Return the policies the box has had, newest first; await it, or walk through it."""

        async def fetch(token: str) -> tuple[Sequence[PolicyRevision], str]:
            answer: pb.ListPolicyRevisionsResponse = await self._connection.call(
                self._connection.boxes.ListPolicyRevisions,
                lambda _: pb.ListPolicyRevisionsRequest(box_id=self.id, page_token=token),
                repeatable=True,
            )
            return [*map(policy_revision_from_proto, answer.revisions)], answer.next_page_token

        return Pages(fetch)

    async def snapshot(self, *, snapshot_id: str = "", request_id: str | None = None) -> Snapshot:
        """Remember the policy the box has now. `snapshot_id` empty: the server makes one.

        Raises AlreadyExists and BoxNotFound.
        """
        request = pb.CreateSnapshotRequest(
            box_id=self.id, snapshot_id=snapshot_id, request_id=request_id or str(uuid.uuid4())
        )
        answer = await self._connection.call(
            self._connection.boxes.CreateSnapshot, lambda _: request, repeatable=True
        )
        return Snapshot(snapshot_from_proto(answer), self._connection)

    async def refusals(self, *, recent: int = 0) -> AsyncGenerator[Refusal, None]:
        """Yield what nodes refuse to this box, as it happens. See `watch_refusals`."""
        source = RefusalSource(self.id, {}, recent)
        async with aclosing(follow(self._connection, source)) as refusals:
            async for refusal in refusals:
                yield refusal

    @classmethod
    async def watch_refusals(
        cls,
        *,
        label: LabelFilter | None = None,
        recent: int = 0,
        client: Client | None = None,
    ) -> AsyncGenerator[Refusal, None]:
        """Yield what nodes refuse to the boxes that have `label` (None: to any), for ever.

        Begins with up to `recent` (at most 1,000) refusals that the server remembers. A record for
        people and alarms, not a ledger: what came too fast is dropped and counted
        (`Refusal.dropped_before`), and what happens while the connection is interrupted is missed.
        """
        source = RefusalSource("", labels_of(label), recent)
        connection = await connection_of(client)
        async with aclosing(follow(connection, source)) as refusals:
            async for refusal in refusals:
                yield refusal

    @classmethod
    async def recent_refusals(
        cls,
        *,
        box_id: str = "",
        label: LabelFilter | None = None,
        limit: int = 1_000,
        client: Client | None = None,
    ) -> "tuple[Refusal, ...]":
        """Return up to `limit` (1 to 1,000) of the newest refusals the server remembers, oldest
        first.

        Of one box, or of those that have `label`. Raises BoxNotFound.
        """
        connection = await connection_of(client)
        request = pb.WatchRefusalsRequest(
            box_id=box_id, labels=labels_of(label), recent=max(1, limit)
        )
        answer: pb.WatchRefusalsResponse = await connection.first_of_stream(
            connection.boxes.WatchRefusals, request
        )
        return tuple(map(refusal_from_proto, answer.refusals))

    # For this module and the subclass.

    @classmethod
    async def _create(
        cls,
        box: box_pb2.Box,
        box_id: str,
        request_id: str | None,
        validate_only: bool,
        client: Client | None,
    ) -> Self:
        connection = await connection_of(client)
        request = pb.CreateBoxRequest(
            box=box,
            box_id=box_id,
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        answer = await connection.call(
            connection.boxes.CreateBox, lambda _: request, repeatable=True
        )
        return cls(box_from_proto(answer), connection)

    def _require_enforced(self) -> None:
        if not self.enforcement.is_settled_well:
            raise NotEnforced(self._state, self.enforcement)


class EphemeralBox(Box):
    """A box that ends by itself after a time to live, 1 s to 3 days.

    As an asynchronous context it is deleted at the end of the block:

        async with await EphemeralBox.create(ttl=600) as box: ...
    """

    @classmethod
    async def create(
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
        """Make a box that ends after `ttl` (seconds or timedelta). As `Box.create` otherwise."""
        box = box_pb2.Box(name=name, node_id=node_id, labels=dict(labels or {}), runtime=runtime)
        box.ttl.CopyFrom(duration_to_proto(ttl))
        if network_policy is not None:
            box.network_policy.CopyFrom(policy_message(network_policy))
        return await cls._create(box, box_id, request_id, validate_only, client)

    @classmethod
    async def from_snapshot(
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
        """Make one with the policy of a snapshot. As `Box.from_snapshot` otherwise."""
        box = box_pb2.Box(name=name, node_id=node_id, labels=dict(labels or {}), runtime=runtime)
        box.source_snapshot = snapshot if isinstance(snapshot, str) else snapshot.id
        box.ttl.CopyFrom(duration_to_proto(ttl))
        if network_policy is not None:
            box.network_policy.CopyFrom(policy_message(network_policy))
        return await cls._create(box, box_id, request_id, validate_only, client)

    async def extend(self, ttl: Seconds) -> Self:
        """Let the box live for `ttl` from now, whether that is longer or shorter than before."""
        return await self.update(ttl=ttl)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Its time may have come before the end of the block.
        with suppress(BoxNotFound):
            await self.delete()


def _with_wait(
    request: pb.UpdateNetworkPolicyRequest, wait: float | None
) -> Callable[[float], pb.UpdateNetworkPolicyRequest]:
    """Return a maker of `request` that asks to wait for the time that is left, if at all."""

    def make(left: float) -> pb.UpdateNetworkPolicyRequest:
        if wait is not None:
            request.wait_timeout.CopyFrom(duration_to_proto(left))
        return request

    return make


def _update_mask(
    box: box_pb2.Box,
    *,
    name: str | None,
    labels: Mapping[str, str] | None,
    runtime: str | None,
    node_id: str | None,
) -> "list[str]":
    """Fill in what is given; return the paths of it."""
    texts = {"name": name, "runtime": runtime, "node_id": node_id}
    given = {field: value for field, value in texts.items() if value is not None}
    for field, value in given.items():
        setattr(box, field, value)
    if labels is not None:
        box.labels.update(labels)
        return [*given, "labels"]
    return [*given]


def _expiration_mask(
    box: box_pb2.Box, ttl: Seconds | None, expire_time: datetime | None, never: bool
) -> "list[str]":
    if sum((ttl is not None, expire_time is not None, never)) > 1:
        raise TypeError("ttl, expire_time and never_expires exclude each other")
    if ttl is not None:
        box.ttl.CopyFrom(duration_to_proto(ttl))
        return ["ttl"]
    if expire_time is not None:
        box.expire_time.CopyFrom(time_to_proto(expire_time))
    return ["expire_time"] if expire_time is not None or never else []
