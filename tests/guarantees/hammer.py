"""One of several who write to one box of real servers, and note what they know of each write."""

import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from typing import Any

import grpc

from boxwall.v1 import box_pb2, box_service_pb2, policy_pb2
from boxwall.wire.errors import ErrorReason, error_from_rpc
from guarantees.linearizable import Lost, Wrote
from guarantees.writer import policy_value

TIMEOUT = 60
"""Seconds for one call: a server may wait for its database before it answers."""
PAUSE = 0.02
"""Seconds at most between two writes."""


class Hammer:
    """Sets policies that nobody else sets: blindly, with a request id until it is answered, or only
    if the box is as it was read.
    """

    def __init__(self, name: str, stubs: Sequence[Any], box_id: str) -> None:
        """Writes go to the servers in turn; `name` is part of a domain."""
        self.operations: list[Wrote | Lost] = []
        self.swaps: dict[int, int] = {}
        """The revisions of conditional writes, and those that they were to follow."""
        self.kept_out = 0
        """How often somebody else came between a read and its conditional write."""
        self._name = name
        self._stubs = stubs
        self._box_id = box_id
        self._number = 0

    async def write_until(self, stopped: asyncio.Event) -> None:
        """Write until told to stop: no write is given up while it is under way."""
        while not stopped.is_set():
            await random.choice((self._write_blindly, self._write_once, self._swap))()
            await asyncio.sleep(random.uniform(0, PAUSE))

    async def _write_blindly(self) -> None:
        request, begin = self._update(), time.monotonic()
        try:
            box = await self._stub.UpdateNetworkPolicy(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as exc:
            if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            lost = Lost(begin=begin, value=policy_value(request.network_policy))
            self.operations.append(lost)
        else:
            self._wrote(begin, box, request)

    async def _write_once(self) -> None:
        request, begin = self._update(request_id=str(uuid.uuid4())), time.monotonic()
        self._wrote(begin, await self._insist("UpdateNetworkPolicy", request), request)

    async def _swap(self) -> None:
        get = box_service_pb2.GetBoxRequest(box_id=self._box_id)
        read = await self._insist("GetBox", get)
        begin = time.monotonic()
        request = self._update(request_id=str(uuid.uuid4()), etag=read.etag)
        try:
            box = await self._insist("UpdateNetworkPolicy", request)
        except grpc.aio.AioRpcError as exc:
            if error_from_rpc(exc).reason is not ErrorReason.ETAG_MISMATCH:
                raise
            self.kept_out += 1
        else:
            self._wrote(begin, box, request)
            self.swaps[box.policy_revision] = read.policy_revision

    async def _insist(self, method: str, request: Any) -> box_pb2.Box:
        """Send what does nothing the second time until it is answered, whoever answers."""
        while True:
            try:
                answer: box_pb2.Box = await getattr(self._stub, method)(request, timeout=TIMEOUT)
            except grpc.aio.AioRpcError as exc:
                if exc.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(PAUSE)
            else:
                return answer

    @property
    def _stub(self) -> Any:
        return random.choice(self._stubs)

    def _update(self, **fields: Any) -> box_service_pb2.UpdateNetworkPolicyRequest:
        self._number += 1
        name = f"{self._name}-{self._number}.example.com"
        custom = policy_pb2.CustomPolicy(allowed_domains=[name], unlisted=policy_pb2.UNLISTED_DENY)
        policy = policy_pb2.NetworkPolicy(custom=custom)
        return box_service_pb2.UpdateNetworkPolicyRequest(
            box_id=self._box_id, network_policy=policy, **fields
        )

    def _wrote(self, begin: float, box: box_pb2.Box, request: Any) -> None:
        value = policy_value(request.network_policy)
        wrote = Wrote(begin=begin, end=time.monotonic(), revision=box.policy_revision, value=value)
        self.operations.append(wrote)
