"""One who writes to a box of a real server, over every loss, and knows what has happened."""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from boxwall.v1 import box_pb2, box_service_pb2, policy_pb2
from boxwall_server.clock import SystemClock
from fakes.agent import subscribed
from guarantees.follower import RETRY, Follower
from guarantees.history import History, Write, policy_state
from guarantees.linearizable import ABSENT, Wrote
from guarantees.truth import Truth

DELETED = 0.1
"""The share of writes to a living box that delete it."""
PAUSE = 0.05
"""Seconds at most between two writes to a box: more would only keep a server from starting."""
TIMEOUT = 30
"""Seconds for one call."""

Answer = TypeVar("Answer")


class BoxIsGone(Exception):
    """The server has no box of that id."""


class Writer:
    """Creates, changes and deletes one box for ever; nobody else writes to it.

    When an answer is lost, it finds out whether the write has happened before it goes on: by
    repeating the request id, in the history of the box, or from what the observer has heard.
    """

    def __init__(
        self,
        stub: Any,
        box_id: str,
        truth: Truth,
        observer: Follower,
        hear: Callable[[box_pb2.Box], None] = lambda box: None,
        waits: Sequence[int] = (0,),
    ) -> None:
        """`hear` is told of every answer, at once; `waits` are milliseconds to wait for nodes."""
        self.operations: list[Wrote] = []
        """All that has happened to the box."""
        self.busy = asyncio.Lock()
        """Held while it does not know what became of a write."""
        self.box_id = box_id
        self._stub = stub
        self._truth = truth
        self._observer = observer
        self._uid = ""
        self._revisions: list[int] = []
        """Of the policies that the living box has had. None: it does not live."""
        self._answers: list[tuple[Any, Any, box_pb2.Box]] = []
        """First answers to request ids: method, request, answer."""
        self._number = 0
        self._hear = hear
        self._waits = waits
        self._begin = 0.0

    async def write_for_ever(self) -> None:
        while True:
            async with self.busy:
                await self._write()
            await asyncio.sleep(random.uniform(0, PAUSE))

    async def check(self) -> None:
        """The past of the box is what was written; request ids are answered as the first time."""
        if self._revisions:
            past = box_service_pb2.ListPolicyRevisionsRequest(box_id=self.box_id, page_size=1000)
            listed = await self._stub.ListPolicyRevisions(past, timeout=TIMEOUT)
            assert [one.revision for one in reversed(listed.revisions)] == self._revisions
        for method, request, first in (self._answers[-1], random.choice(self._answers)):
            again = await method(request, timeout=TIMEOUT)
            assert without_enforcement(again) == without_enforcement(first)

    async def _write(self) -> None:
        self._begin = time.monotonic()
        if not self._revisions:
            await self._create()
        elif random.random() < DELETED:
            await self._delete()
        elif random.random() < 0.5:
            await self._update_once()
        else:
            await self._update_blindly()

    async def _create(self) -> None:
        box = box_pb2.Box(network_policy=self._next_policy())
        request = box_service_pb2.CreateBoxRequest(
            box_id=self.box_id, box=box, request_id=str(uuid.uuid4())
        )
        made = await self._repeat(self._stub.CreateBox, request)
        self._uid = made.uid
        self._wrote(made.policy_revision, box.network_policy)

    async def _update_once(self) -> None:
        request = self._update(request_id=str(uuid.uuid4()))
        request.wait_timeout.FromMilliseconds(random.choice(self._waits))
        written = await self._repeat(self._stub.UpdateNetworkPolicy, request)
        self._wrote(written.policy_revision, request.network_policy)

    async def _update_blindly(self) -> None:
        request = self._update()
        written = await self._try(self._stub.UpdateNetworkPolicy(request, timeout=TIMEOUT))
        if written is not None:
            self._hear(written)
            self._wrote(written.policy_revision, request.network_policy)
            return
        past = box_service_pb2.ListPolicyRevisionsRequest(box_id=self.box_id, page_size=1)
        newest = (await self._ask(self._stub.ListPolicyRevisions, past)).revisions[0]
        if newest.network_policy == request.network_policy:
            self._truth.found += 1
            self._wrote(newest.revision, request.network_policy)

    async def _delete(self) -> None:
        request = box_service_pb2.DeleteBoxRequest(box_id=self.box_id)
        answer = await self._try(self._stub.DeleteBox(request, timeout=TIMEOUT))
        revision = await self._deletion() if answer is None else answer.revision
        if revision:
            self._truth.take(Write(revision, self.box_id))
            self._note(revision, ABSENT)
            self._revisions = []

    async def _deletion(self) -> int:
        """Return the revision of the deletion that may have happened. 0: it has not."""
        get = box_service_pb2.GetBoxRequest(box_id=self.box_id)
        with contextlib.suppress(BoxIsGone):
            await self._ask(self._stub.GetBox, get)
            return 0
        await self._observer.until(lambda: self._told_revision() > self._revisions[-1])
        self._truth.found += 1
        return self._told_revision()

    def _told_revision(self) -> int:
        """Of the last entry that the observer was told; a tombstone has that of the deletion."""
        entry = self._observer.entries.get(self.box_id)
        return 0 if entry is None else entry.policy_revision

    async def _repeat(self, method: Any, request: Any) -> box_pb2.Box:
        """Send a request with an id until it is answered."""
        answer: box_pb2.Box = await self._ask(method, request)
        self._hear(answer)
        self._answers.append((method, request, answer))
        return answer

    async def _ask(self, method: Callable[..., Awaitable[Answer]], request: Any) -> Answer:
        """Send a request, which may do nothing the second time, until it is answered."""
        while True:
            answer = await self._try(method(request, timeout=TIMEOUT))
            if answer is not None:
                return answer
            await asyncio.sleep(RETRY)

    async def _try(self, call: Awaitable[Answer]) -> Answer | None:
        """Return the answer. None: it was lost with the server. Raises BoxIsGone."""
        try:
            return await call
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                raise BoxIsGone from exc
            if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return None

    def _wrote(self, revision: int, policy: policy_pb2.NetworkPolicy) -> None:
        state = policy_state(self.box_id, self._uid, revision, policy)
        self._truth.take(Write(revision, self.box_id, state))
        self._note(revision, policy_value(policy))
        self._revisions.append(revision)

    def _note(self, revision: int, value: bytes | None) -> None:
        wrote = Wrote(begin=self._begin, end=time.monotonic(), revision=revision, value=value)
        self.operations.append(wrote)

    def _update(self, **fields: Any) -> box_service_pb2.UpdateNetworkPolicyRequest:
        return box_service_pb2.UpdateNetworkPolicyRequest(
            box_id=self.box_id, network_policy=self._next_policy(), **fields
        )

    def _next_policy(self) -> policy_pb2.NetworkPolicy:
        """Return a policy that the box has never had, in the form in which it is stored."""
        self._number += 1
        cidr = f"104.{self._number >> 8 & 255}.{self._number & 255}.0/24"
        custom = policy_pb2.CustomPolicy(allowed_cidrs=[cidr], unlisted=policy_pb2.UNLISTED_DENY)
        return policy_pb2.NetworkPolicy(custom=custom)


def policy_value(policy: policy_pb2.NetworkPolicy) -> bytes:
    """Return what tells a policy from others."""
    return policy.SerializeToString(deterministic=True)


@asynccontextmanager
async def paused(writers: Sequence[Writer]) -> AsyncIterator[None]:
    """While this lasts nobody writes, and the outcome of every write is known."""
    async with contextlib.AsyncExitStack() as stack:
        for writer in writers:
            await stack.enter_async_context(writer.busy)
        yield


async def check_a_newcomer(stub: Any, history: History) -> None:
    """Who begins now is given exactly what was written: nothing is lost, and nothing invented."""
    newcomer = await subscribed(stub, history, SystemClock(), "newcomer", all_boxes=True)
    await newcomer.reaches(history.head)
    newcomer.call.cancel()


async def check_all(
    truth: Truth, followers: Sequence[Follower], writers: Sequence[Writer], stub: Any
) -> None:
    """Put what has happened before every checker. Nobody may be writing."""
    truth.complete()
    await asyncio.gather(*(one.settle(truth.history) for one in followers))
    await check_a_newcomer(stub, truth.history)
    await asyncio.gather(*(writer.check() for writer in writers))


def without_enforcement(box: box_pb2.Box) -> box_pb2.Box:
    """Return what is the same in every answer to a request id."""
    copy = box_pb2.Box()
    copy.CopyFrom(box)
    copy.ClearField("enforcement")
    return copy
