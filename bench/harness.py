"""What every question needs: servers, actors, rounds in turn."""

import asyncio
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from bench import procfs
from bench.answers import Answer
from bench.processes import START_TIMEOUT, Actor, Child, Processes, python

T = TypeVar("T")
ROUNDS = 5


@dataclass(slots=True)
class Server:
    """A server in a process of its own, Boxwall's or the baseline, mostly on a unix socket."""

    child: Child
    socket: Path
    database: Path | None = None
    target: str = ""
    """HOST:PORT instead of a socket."""

    @property
    def path(self) -> str:
        """Where it is, as actors want it."""
        return self.target or str(self.socket)

    @property
    def memory(self) -> int:
        """Resident bytes now."""
        self.child.check()
        return procfs.memory_bytes(self.child.pid)

    @property
    def peak_memory(self) -> int:
        """The most resident bytes so far."""
        self.child.check()
        return procfs.peak_memory_bytes(self.child.pid)

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        self.child.check()
        return procfs.cpu_seconds(self.child.pid)


@dataclass(slots=True)
class Bench:
    """One run: its scale, its directory, and a way to start what it needs."""

    quick: bool
    directory: Path
    processes: Processes
    """Of the question that is being asked: they end with it."""
    alone: bool = False
    """Whether only one question is asked."""
    _count: int = 0
    _filled: dict[int, Path] = field(default_factory=dict)

    def pick(self, quick: T, full: T) -> T:
        """Choose by the scale of this run."""
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """How many rounds a figure is the median of. A quick run shows that all of it works."""
        return self.pick(2, ROUNDS)

    def fresh(self, name: str) -> Path:
        """Return a path in the run's directory that nothing uses yet."""
        self._count += 1
        return self.directory / f"{self._count:03d}-{name}"

    async def start_boxwall(
        self, database: Path | None = None, socket: Path | None = None, target: str = ""
    ) -> Server:
        """Start the control plane with its defaults. It may not accept connections yet."""
        database = database or self.fresh("store.db")
        socket = socket or self.fresh("boxwall.sock")
        argv = [
            *server_command(),
            "--listen",
            target or f"unix:{socket}",
            "--store",
            f"sqlite:{database}",
            "--metrics-listen",
            "off",
        ]
        return Server(await self.processes.spawn("boxwall", argv), socket, database, target)

    async def start_baseline(self, file: Path | None = None) -> Server:
        """Start the empty server; with `file` it keeps updates there. It may not accept connections
        yet.
        """
        socket = self.fresh("baseline.sock")
        argv = python("-m", "bench.baseline", str(socket), *([] if file is None else [str(file)]))
        return Server(await self.processes.spawn("baseline", argv), socket)

    @asynccontextmanager
    async def boxwall(
        self, database: Path | None = None, target: str = ""
    ) -> AsyncIterator[Server]:
        """Run the control plane for as long as the context lasts; see `accepting`."""
        server = await self.start_boxwall(database, target=target)
        try:
            yield server
        finally:
            await server.child.stop()

    @asynccontextmanager
    async def baseline(self, *, durable: bool = False) -> AsyncIterator[Server]:
        """Run the empty server for as long as the context lasts; see `accepting`.

        `durable`: it syncs every update to a file before it answers, and does nothing else.
        """
        server = await self.start_baseline(self.fresh("updates.log") if durable else None)
        try:
            yield server
        finally:
            await server.child.stop()

    @asynccontextmanager
    async def actor(self, name: str) -> AsyncIterator[Actor]:
        """Run "module:Class" in a process of its own for as long as the context lasts."""
        argv = python("-m", "bench.actor", name)
        child = await self.processes.spawn(name.rpartition(":")[2], argv, talks=True)
        actor = Actor(child)
        try:
            yield actor
        finally:
            await actor.stop()

    @asynccontextmanager
    async def callers(self, server: Server, first: int = 0) -> AsyncIterator[Actor]:
        """Run callers that are connected to a server."""
        async with self.actor("bench.callers:Callers") as callers:
            await server.child.outlives(callers.call("connect", path=server.path, first=first))
            yield callers

    async def filled(self, boxes: int) -> Path:
        """Return a store with that many boxes; made once a run, each from the next smaller."""
        if boxes not in self._filled:
            path = self.fresh("filled.db")
            smaller = [size for size in self._filled if size < boxes]
            if smaller:
                copy_store(self._filled[max(smaller)], path)
            async with self.actor("bench.prefill:Filler") as filler:
                first = max(smaller, default=0)
                await filler.call("fill", path=str(path), first=first, until=boxes, timeout=900.0)
            self._filled[boxes] = path
        return self._filled[boxes]

    async def copy_of_filled(self, boxes: int) -> Path:
        """Return such a store that the caller may write to."""
        path = self.fresh("copy.db")
        copy_store(await self.filled(boxes), path)
        return path


def copy_store(source: Path, target: Path) -> None:
    """Copy a store that nobody uses."""
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, target.with_name(target.name + suffix))


def store_bytes(path: Path) -> int:
    """Return what a store takes on disk."""
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))


async def in_turn(
    rounds: int, ours: Callable[[], Awaitable[T]], beside: Callable[[], Awaitable[T]]
) -> tuple[list[T], list[T]]:
    """Measure one and the other, A B A B: what the machine does meanwhile hits both."""
    a: list[T] = []
    b: list[T] = []
    for _ in range(rounds):
        a.append(await ours())
        b.append(await beside())
    return a, b


async def can_answer(callers: Actor, beside: Actor, method: str, boxes: int) -> None:
    """Let the baseline answer a method with what Boxwall has just answered."""
    once: dict[str, Any] = await callers.call("once", method=method, box=boxes - 1)
    await beside.call("can", name=method, response=once["answer"])


async def accepting(server: Server) -> None:
    """Wait until a server accepts connections."""
    until = time.monotonic() + START_TIMEOUT
    while True:
        server.child.check()
        try:
            _, writer = await asyncio.open_unix_connection(server.path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > until:
                raise TimeoutError(f"{server.child.name} does not listen") from None
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server_command() -> list[str]:
    """Return `boxwall server`; where there is no such script, the same without it."""
    script = Path(sys.executable).parent / "boxwall"
    if script.exists() and find_spec("boxwall.cli.main") is not None:
        return [str(script), "server"]
    return python("-c", "from boxwall_server.main import server; server()")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One file of this package: what it asks, and how long it will take."""

    name: str
    seconds_quick: float
    seconds_full: float
    ask: Callable[[Bench], Awaitable[list[Answer]]]
    seconds_alone: float | None = None
    """If it takes another time when nothing else is asked."""

    def seconds(self, bench: Bench) -> float:
        """Return how long it should take in this run."""
        if bench.quick:
            return self.seconds_quick
        if bench.alone and self.seconds_alone is not None:
            return self.seconds_alone
        return self.seconds_full
