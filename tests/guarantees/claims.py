"""Was every ENFORCED true when it was said? And what was read on the way."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from boxwall.v1 import box_pb2, box_service_pb2
from guarantees.follower import Follower
from guarantees.linearizable import ABSENT, Saw
from guarantees.writer import policy_value

TIMEOUT = 30
"""Seconds for one call."""

State = box_pb2.Enforcement.State


class Claims:
    """Compares what servers say of nodes with what the nodes have noted themselves."""

    def __init__(self, nodes: Mapping[str, Follower]) -> None:
        self._nodes = nodes
        self.checked = 0
        """How often a box was said to be enforced, on whatever nodes."""

    def hear(self, box: box_pb2.Box, revision: int = 0) -> None:
        """Take in what a server says of a box, or of an older revision of it.

        Raises AssertionError if that is not so.
        """
        said = box.enforcement
        if said.state == State.STATE_ENFORCED:
            self.checked += 1
            hosts = {node_id for node_id, node in self._nodes.items() if node.hosts(box.id)}
            assert {node.node_id for node in said.nodes} == hosts, f"{box.id} is elsewhere too"
            assert said.applied_revision >= (revision or box.policy_revision), said
        for node in said.nodes:
            if node.state == State.STATE_ENFORCED:
                applied = self._nodes[node.node_id].applied[box.id]
                assert node.applied_revision in applied, f"{node.node_id} never had {said}"


class Reader:
    """Asks one server after another for one box after another, and notes what it sees."""

    def __init__(self, stubs: Sequence[Any], box_ids: Sequence[str], claims: Claims) -> None:
        self.seen: dict[str, list[Saw]] = defaultdict(list)
        self._stubs = stubs
        self._box_ids = box_ids
        self._claims = claims

    async def read_for_ever(self, pause: float) -> None:
        """Read until cancelled; an answer that is lost says nothing."""
        while True:
            await asyncio.sleep(random.uniform(0, pause))
            try:
                await self._read(random.choice(self._stubs), random.choice(self._box_ids))
            except grpc.aio.AioRpcError as exc:
                if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise

    async def _read(self, stub: Any, box_id: str) -> None:
        request = box_service_pb2.GetBoxRequest(box_id=box_id)
        begin = time.monotonic()
        try:
            box = await stub.GetBox(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            self._note(box_id, begin, 0, ABSENT)
            return
        self._claims.hear(box)
        self._note(box_id, begin, box.policy_revision, policy_value(box.network_policy))
        wait = box_service_pb2.WaitEnforcedRequest(
            box_id=box_id, policy_revision=box.policy_revision
        )
        wait.timeout.FromMilliseconds(200)
        try:
            waited = await stub.WaitEnforced(wait, timeout=TIMEOUT)
            self._claims.hear(waited, box.policy_revision)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.NOT_FOUND:
                raise

    def _note(self, box_id: str, begin: float, revision: int, value: bytes | None) -> None:
        saw = Saw(begin=begin, end=time.monotonic(), revision=revision, value=value)
        self.seen[box_id].append(saw)
