"""kill -9 of the server, again and again, in the middle of a storm of writes.

Writers never stop, but for the moment after each restart in which everything is checked: then each
knows what became of its last write, so the history is complete.
"""

import asyncio
import contextlib
import random
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import pytest

from boxwall.v1 import (
    box_pb2,
    box_service_pb2,
    box_service_pb2_grpc,
    enforcement_service_pb2_grpc,
    policy_pb2,
)
from boxwall_server.clock import SystemClock
from fakes.agent import subscribed
from fakes.server_process import ServerProcess
from guarantees.follower import RETRY, Follower
from guarantees.history import History, Write, policy_state
from guarantees.truth import Truth

KILLS = 50
BOXES = [f"box-{number}" for number in range(16)]
HOSTED = BOXES[:12]
"""Those that node n1 hosts, from before they exist. The others are hosted nowhere."""
WRITES = 20
"""Acknowledged before each kill, at the least."""
DELETED = 0.1
"""The share of writes to a living box that delete it."""
PAUSE = 0.05
"""Seconds at most between two writes to a box: more would only keep the server from starting."""
TIMEOUT = 30
"""Seconds for one call."""

State = box_pb2.Enforcement.State
Answer = TypeVar("Answer")


class BoxIsGone(Exception):
    """The server has no box of that id."""


class Writer:
    """Creates, changes and deletes one box for ever; nobody else writes to it.

    When an answer is lost, it finds out whether the write has happened before it goes on: by
    repeating the request id, in the history of the box, or from what the observer has heard.
    """

    def __init__(self, stub: Any, box_id: str, truth: Truth, observer: Follower) -> None:
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
        written = await self._repeat(self._stub.UpdateNetworkPolicy, request)
        self._wrote(written.policy_revision, request.network_policy)

    async def _update_blindly(self) -> None:
        request = self._update()
        written = await self._try(self._stub.UpdateNetworkPolicy(request, timeout=TIMEOUT))
        if written is not None:
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
        self._revisions.append(revision)

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


@pytest.mark.timeout(240)
async def test_nothing_acknowledged_is_lost_over_fifty_kills(server: ServerProcess) -> None:
    truth, clock = Truth(), SystemClock()
    observer, node = Follower(clock, "observer"), Follower(clock, "n1", HOSTED)
    async with channel_to(server) as channel, asyncio.TaskGroup() as tasks:
        boxes = box_service_pb2_grpc.BoxServiceStub(channel)
        streams = enforcement_service_pb2_grpc.EnforcementServiceStub(channel)
        running = [tasks.create_task(one.follow(streams)) for one in (observer, node)]
        await asyncio.gather(*(one.settle(truth.history, streams=1) for one in (observer, node)))
        writers = [Writer(boxes, box_id, truth, observer) for box_id in BOXES]
        running += [tasks.create_task(writer.write_for_ever()) for writer in writers]
        for kill in range(KILLS):
            await truth.grown_by(WRITES)
            await asyncio.sleep(random.uniform(0, 0.05))
            node.may_connect.clear()
            server.kill()
            await asyncio.to_thread(server.start)
            check_that_the_node_is_missed(await enforcement(boxes))
            node.may_connect.set()
            async with paused(writers):
                truth.complete()
                for one in (observer, node):
                    await one.settle(truth.history, streams=kill + 2)
                await check_a_newcomer(streams, truth.history)
                await asyncio.gather(*(writer.check() for writer in writers))
                await check_that_all_is_enforced(boxes)
        for task in running:
            task.cancel()
    print(f"{truth.history.head} revisions; {truth.found} had happened though nobody was told")
    assert truth.found > 0, "no kill hit a write: this was no storm"
    assert observer.resets == node.resets == 1, "a stream was reset although its history goes on"
    assert logged_revisions(server) == list(range(1, truth.history.head + 1))


@asynccontextmanager
async def channel_to(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 50)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        yield channel


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


def check_that_the_node_is_missed(found: dict[str, box_pb2.Enforcement]) -> None:
    """The server remembers which boxes the node hosts, though it has not come back."""
    for box_id, one in found.items():
        hosted = box_id in HOSTED
        assert one.state == (State.STATE_STALE if hosted else State.STATE_NOT_ATTACHED), box_id
        assert [node.node_id for node in one.nodes] == (["n1"] if hosted else [])


async def check_that_all_is_enforced(stub: Any) -> None:
    """The node is back, and has acknowledged the newest policy of each box."""
    found = await enforcement(stub)
    for box_id in found.keys() & set(HOSTED):
        wait = box_service_pb2.WaitEnforcedRequest(box_id=box_id)
        wait.timeout.FromSeconds(TIMEOUT)
        box = await stub.WaitEnforced(wait)
        assert box.enforcement.state == State.STATE_ENFORCED
        assert box.enforcement.applied_revision == box.policy_revision


async def enforcement(stub: Any) -> dict[str, box_pb2.Enforcement]:
    """Return how far each living box is."""
    request = box_service_pb2.ListBoxesRequest(page_size=1000)
    answer = await stub.ListBoxes(request, timeout=TIMEOUT, wait_for_ready=True)
    return {box.id: box.enforcement for box in answer.boxes}


def without_enforcement(box: box_pb2.Box) -> box_pb2.Box:
    """Return what is the same in every answer to a request id."""
    copy = box_pb2.Box()
    copy.CopyFrom(box)
    copy.ClearField("enforcement")
    return copy


def logged_revisions(server: ServerProcess) -> list[int]:
    with contextlib.closing(sqlite3.connect(server.database)) as database:
        return [row[0] for row in database.execute("SELECT revision FROM changes ORDER BY 1")]
