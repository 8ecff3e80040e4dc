"""What an update costs in the server: everything between gRPC and the disk, and what follows."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import grpc

from boxwall.v1 import box_pb2, box_service_pb2, policy_pb2
from boxwall_server.app import App
from boxwall_server.metrics import Metrics
from boxwall_server.store.sqlite import SqliteStore, open_sqlite
from budget.counting import Calls
from fakes.clock import FakeClock
from fakes.service import config_of

SERVICE: Final = "/boxwall.v1.BoxService/"
TOGETHER: Final = 64

_NUMBERS: Final = count(1)
"""No two policies of a process are equal: nothing is found in a cache."""


class Context:
    """What gRPC gives to a handler, of one call."""

    def __init__(self, request: bytes) -> None:
        self._request = request

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return (("user-agent", "budget"),)

    async def read(self) -> bytes:
        return self._request

    async def abort(self, status: grpc.StatusCode, details: str, _: object) -> None:
        raise AssertionError(f"{status}: {details}")

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return ""

    def peer(self) -> str:
        return "unix:"


class _Details:
    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


class Front:
    """A server without its sockets: calls go in as bytes and come out as bytes."""

    def __init__(self, app: App, store: SqliteStore) -> None:
        self._app = app
        self.tasks = 0
        self.statements: list[str] = []
        connection: sqlite3.Connection = store._connection
        connection.set_trace_callback(self.statements.append)
        asyncio.get_running_loop().set_task_factory(self._task)

    def _task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any
    ) -> "asyncio.Task[Any]":
        self.tasks += 1
        return asyncio.Task(coroutine, loop=loop, **more)

    async def call(self, method: str, request: Any) -> bytes:
        """Make a call; return the answer."""
        found = next(
            handler
            for services in self._app._handlers
            if (handler := services.service(_Details(SERVICE + method))) is not None  # type: ignore[arg-type]  # of the same shape
        )
        serve: Any = found.stream_unary
        answer = await serve(None, Context(request.SerializeToString()))
        serialize: Any = found.response_serializer
        return bytes(serialize(answer))

    async def update(self, box: int) -> None:
        """Replace a policy by one of five entries that is like no other."""
        number = next(_NUMBERS)
        custom = policy_pb2.CustomPolicy(
            allowed_domains=[
                f"api-{number}.example.com",
                f"*.cdn-{number}.example.net",
                f"files-{number}.example.org",
            ],
            allowed_cidrs=[f"104.{number % 200}.1.0/24"],
            denied_cidrs=[f"203.{number % 200}.1.0/25"],
        )
        policy = policy_pb2.NetworkPolicy(custom=custom)
        await self.call(
            "UpdateNetworkPolicy",
            box_service_pb2.UpdateNetworkPolicyRequest(box_id=f"b{box}", network_policy=policy),
        )

    async def counted(self, work: Coroutine[Any, Any, object]) -> Mapping[str, int]:
        """Do it; return what it took."""
        before_tasks, before_statements = self.tasks, len(self.statements)
        with Calls() as calls:
            await work
        return {
            "calls": calls.total,
            "tasks": self.tasks - before_tasks,
            "statements": len(self.statements) - before_statements,
        }


@asynccontextmanager
async def front(boxes: int) -> AsyncIterator[Front]:
    """A server with so many boxes, each updated once already."""
    with tempfile.TemporaryDirectory() as folder:
        store = await open_sqlite(Path(folder) / "store.db")
        try:
            app = App(store, config_of(Path(folder), "s"), FakeClock(), Metrics())
            there = Front(app, store)
            for box in range(boxes):
                request = box_service_pb2.CreateBoxRequest(box_id=f"b{box}", box=box_pb2.Box())
                await there.call("CreateBox", request)
            for box in range(boxes):
                await there.update(box)
            yield there
        finally:
            await store.close()


async def updates() -> Mapping[str, float]:
    """One that is alone, and many at once: of those, what each took."""
    async with front(TOGETHER) as there:
        alone = await there.counted(there.update(0))
        await asyncio.gather(*map(there.update, range(TOGETHER)))  # the next batch expects as many
        many = await there.counted(_together(there))
    return {
        **{f"update alone: {what}": number for what, number in alone.items()},
        "update among 64: calls": many["calls"] / TOGETHER,
        "update among 64: statements": many["statements"] / TOGETHER,
        "64 updates at once: tasks besides the callers'": many["tasks"] - TOGETHER,
    }


async def _together(there: Front) -> None:
    await asyncio.gather(*map(there.update, range(TOGETHER)))
