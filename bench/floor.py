"""What durability alone costs in this process model: the empty handler, when it reads its request
itself (as Boxwall does, once it knows who calls), parses it, appends it to a file, and answers once
a thread has synced that file. What comes in meanwhile goes into the next sync.

No policy is read, nothing is looked up, nobody is told. What Boxwall costs beside this is its own.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from boxwall.v1 import box_service_pb2


class Floor:
    """Appends, syncs, and only then lets callers go on."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def durable(self, context: Any) -> box_service_pb2.UpdateNetworkPolicyRequest:
        """Return the request of a call, once it is on the disk."""
        data = await context.read()
        request = box_service_pb2.UpdateNetworkPolicyRequest.FromString(data)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((data, done))
        if self._writing is None:
            self._writing = loop.create_task(self._write_all())
        await done
        return request

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(0)
            batch, self._waiting = self._waiting, []
            data = b"".join(request for request, _ in batch)
            await loop.run_in_executor(self._thread, self._sync, data)
            for _, done in batch:
                done.set_result(None)
        self._writing = None

    def _sync(self, data: bytes) -> None:
        os.write(self._file, data)
        os.fdatasync(self._file)


def durable_handler(floor: Floor, answer: Any, serialize: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return what serves the method: its one request is read by the handler."""

    async def serve(_: Any, context: Any) -> Any:
        return await answer(await floor.durable(context), context)

    return grpc.stream_unary_rpc_method_handler(serve, None, serialize)
