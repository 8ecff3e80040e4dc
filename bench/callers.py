"""The actor that calls unary methods: as fast as they answer, or at a steady rate."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import grpc

from bench.connections import connect, connect_over_tcp, first_answer, unary
from bench.figures import quantile, thinned
from bench.messages import (
    CAN,
    CREATE,
    DELETE,
    LIST,
    TEMPLATES,
    UPDATE,
    Template,
    list_page,
    so_many_entries,
    update,
)
from boxwall.v1 import box_pb2, box_service_pb2, policy_pb2

MAX_CONNECTIONS = 4
MAX_PENDING = 2_000
CALL_TIMEOUT = 60.0

Call = Callable[[bytes], Awaitable[Any]]


class Callers:
    """Runs in a process of its own; every method is one order of the parent."""

    templates: Mapping[str, Callable[[], Template]] = TEMPLATES

    def __init__(self) -> None:
        self._number = 0
        self._channels: list[grpc.aio.Channel] = []
        self._path = ""
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._pacing: asyncio.Task[None] | None = None
        self._paced = 0
        self._paced_failures = 0

    async def connect(self, path: str, first: int = 0) -> None:
        """Use this server. `first` keeps the policies of several callers apart."""
        await self._close()
        self._path = path
        self._number = first
        self._channels = [connect(path) for _ in range(MAX_CONNECTIONS)]
        await first_answer(path, 60.0)

    async def connect_to(self, paths: list[str], each: int) -> None:
        """Use several servers: caller after caller goes to the next, over `each` connections."""
        await self._close()
        self._channels = [connect(path) for _ in range(each) for path in paths]
        await asyncio.gather(*(first_answer(path, 60.0) for path in paths))

    async def connect_as(self, target: str, ca: str, token: str) -> None:
        """Use the server at HOST:PORT; over TLS if there is a `ca`; a token may be empty."""
        await self._close()
        self._channels = [connect_over_tcp(target, ca) for _ in range(MAX_CONNECTIONS)]
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def reconnect(self, target: str, ca: str, count: int) -> dict[str, Any]:
        """Open so many connections in turn; each is there when it is ready for calls."""
        latencies = []
        for _ in range(count):
            begin = time.monotonic()
            async with connect_over_tcp(target, ca) as channel:
                await channel.channel_ready()
                latencies.append(time.monotonic() - begin)
        return _summary(latencies)

    async def first_answer(self, path: str) -> float:
        """Wait for a server that is starting; return when it answered (monotonic clock)."""
        return await first_answer(path, 120.0)

    async def can(self, name: str, response: str) -> None:
        """Tell a baseline what to answer, in hexadecimal."""
        await self._call(CAN)(name.encode() + b"\0" + bytes.fromhex(response))

    async def use_entries(self, count: int) -> None:
        """Make updates with policies of so many entries from now on."""
        larger = partial(update, custom=so_many_entries(count))
        self.templates = {**self.templates, UPDATE: larger}

    async def once(self, method: str, box: int) -> dict[str, Any]:
        """Call once; return when it began and ended (monotonic clock), and the answer."""
        self._number += 1
        request = self.templates[method]()(box, self._number)
        call = self._call(method)
        begin = time.monotonic()
        answer = await call(request)
        return {"begin": begin, "end": time.monotonic(), "answer": answer.hex()}

    async def create(self, boxes: int, first: int = 0, callers: int = 64) -> None:
        """Create boxes `first` to `first + boxes - 1`."""
        await self._each(CREATE, TEMPLATES[CREATE](), range(first, first + boxes), callers)

    async def allow(self, box: int, domains: list[str], cidrs: list[str]) -> bool:
        """Give a box a policy of its own; return whether it came into force."""
        request = update(
            wait=30.0, custom=policy_pb2.CustomPolicy(allowed_domains=domains, allowed_cidrs=cidrs)
        )
        return _enforced(await self._call(UPDATE)(request(box, 0)))

    async def change_each(
        self, boxes: int, callers: int, wait: float = 0.0, first: int = 0
    ) -> dict[str, Any]:
        """Change every box once; with `wait`, each call returns when its node has acknowledged."""
        begin = time.monotonic()
        numbers = range(first, first + boxes)
        answers = await self._each(UPDATE, update(wait), numbers, callers)
        seconds = time.monotonic() - begin
        enforced = sum(_enforced(answer) for answer in answers)
        return {"begin": begin, "seconds": seconds, "enforced": enforced}

    async def run(
        self, method: str, boxes: int, callers: int, seconds: float, warm: float = 0.2
    ) -> dict[str, Any]:
        """Keep `callers` calling for some seconds; each calls again when it is answered."""
        template = self.templates[method]()
        calls = [self._call(method, caller) for caller in range(callers)]
        for length in (warm, seconds):
            latencies: list[float] = []
            begin = time.monotonic()
            until = begin + length
            await asyncio.gather(
                *(self._keep(call, template, boxes, until, latencies) for call in calls)
            )
            spent = time.monotonic() - begin
        return {"rate": len(latencies) / spent, **_summary(latencies)}

    async def waits(self, boxes: int, count: int, first: int = 0) -> dict[str, Any]:
        """Change `count` of the boxes from `first` on, one after the other, each until its node has
        acknowledged.
        """
        template = update(wait=10.0)
        call = self._call(UPDATE)
        latencies, late = [], 0
        for _ in range(count):
            self._number += 1
            request = template(first + self._number * 7919 % boxes, self._number)
            begin = time.monotonic()
            answer = await call(request)
            latencies.append(time.monotonic() - begin)
            late += not _enforced(answer)
        return {"late": late, **_summary(latencies), "all": latencies}

    async def pace(self, rate: float, boxes: int, first: int = 0) -> None:
        """Change boxes from `first` on at a steady rate, until `unpace`."""
        self._paced = self._paced_failures = 0
        self._pacing = asyncio.create_task(self._keep_pace(rate, boxes, first))

    async def unpace(self) -> dict[str, int]:
        """Stop; return how many changes were made and how many could not be."""
        if self._pacing is not None:
            self._pacing.cancel()
            self._pacing = None
        return {"changes": self._paced, "failures": self._paced_failures}

    async def churn(self, first: int, count: int) -> None:
        """Make `count` boxes and delete them again."""
        numbers = range(first, first + count)
        for method in (CREATE, DELETE):
            await self._each(method, self.templates[method](), numbers, callers=8)

    async def states(self) -> dict[str, list[Any]]:
        """Read every box: its revision and how far it is enforced."""
        found: dict[str, list[Any]] = {}
        async for page in self._pages():
            for box in page.boxes:
                enforced = box.enforcement.state == box_pb2.Enforcement.STATE_ENFORCED
                found[box.id] = [box.policy_revision, enforced]
        return found

    async def list_all(self) -> int:
        """Read every box; return how many there are."""
        return sum([len(page.boxes) async for page in self._pages()])

    async def _pages(self) -> AsyncIterator[box_service_pb2.ListBoxesResponse]:
        request = box_service_pb2.ListBoxesRequest.FromString(list_page()(0, 0))
        request.page_size = 1_000
        call = self._call(LIST)
        while True:
            page = box_service_pb2.ListBoxesResponse.FromString(
                await call(request.SerializeToString())
            )
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _call(self, method: str, caller: int = 0) -> Call:
        multicallable = unary(self._channels[caller % len(self._channels)], method)

        async def call(request: bytes) -> Any:
            return await multicallable(request, timeout=CALL_TIMEOUT, metadata=self._metadata)

        return call

    async def _keep(
        self, call: Call, template: Template, boxes: int, until: float, latencies: list[float]
    ) -> None:
        while (begin := time.monotonic()) < until:
            self._number += 1
            await call(template(self._number * 7919 % boxes, self._number))
            latencies.append(time.monotonic() - begin)

    async def _each(
        self, method: str, template: Template, boxes: range, callers: int
    ) -> list[bytes]:
        left = iter(boxes)
        answers: list[bytes] = []

        async def work(caller: int) -> None:
            call = self._call(method, caller)
            for box in left:
                self._number += 1
                answers.append(await call(template(box, self._number)))

        await asyncio.gather(*(work(caller) for caller in range(min(callers, len(boxes)))))
        return answers

    async def _keep_pace(self, rate: float, boxes: int, first: int) -> None:
        template, pending = update(), set[asyncio.Task[None]]()
        next_at = time.monotonic()
        while True:
            next_at += 1 / rate
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            self._number += 1
            if len(pending) >= MAX_PENDING:
                self._paced_failures += 1
                continue
            request = template(first + self._number * 7919 % boxes, self._number)
            task = asyncio.create_task(self._paced_call(self._number, request))
            pending.add(task)
            task.add_done_callback(pending.discard)

    async def _paced_call(self, number: int, request: bytes) -> None:
        try:
            await self._call(UPDATE, number)(request)
            self._paced += 1
        except grpc.aio.AioRpcError:
            self._paced_failures += 1

    async def _close(self) -> None:
        for channel in self._channels:
            await channel.close()


def _enforced(answer: bytes) -> bool:
    box = box_pb2.Box.FromString(answer)
    return bool(box.enforcement.state == box_pb2.Enforcement.STATE_ENFORCED)


def _summary(latencies: list[float]) -> dict[str, Any]:
    return {
        "count": len(latencies),
        "p50": quantile(latencies, 0.5),
        "p99": quantile(latencies, 0.99),
        "sample": thinned(latencies),
    }
