"""Child processes, each ended by its own pid whatever happens to the parent's work."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
START_TIMEOUT = 60.0
STOP_TIMEOUT = 15.0
ANSWER_BYTES = 64 * 1024 * 1024


class ChildFailed(RuntimeError):
    """A process that a benchmark needs has ended, refused or fallen silent; the text says which."""


class Processes:
    """The living children. Leaving the context ends them all."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._living: set[Child] = set()
        self._count = 0

    async def __aenter__(self) -> "Processes":
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in tuple(self._living):
            child.kill()
        for child in tuple(self._living):
            await child.ended()

    async def spawn(self, name: str, argv: Sequence[str], *, talks: bool = False) -> "Child":
        """Start a process. Its output goes to a file, except what an actor says to its parent."""
        self._count += 1
        log = self._directory / f"{self._count:03d}-{name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=ROOT,
                env=_clean_environment(),
                stdin=asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if talks else output,
                stderr=output,
                limit=ANSWER_BYTES,
            )
        child = Child(name, process, log, self._living)
        self._living.add(child)
        return child


class Child:
    """A process that we started."""

    def __init__(self, name: str, process: Process, log: Path, living: "set[Child]") -> None:
        self.name = name
        self.process = process
        self._log = log
        self._living = living

    @property
    def pid(self) -> int:
        """Of the process itself: nothing is started in between."""
        return self.process.pid

    def check(self) -> None:
        """Raise ChildFailed if the process has ended."""
        if self.process.returncode is not None:
            raise ChildFailed(
                f"{self.name} ended with status {self.process.returncode}: {self.last_words()}"
            )

    async def outlives(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; raises ChildFailed at once if the process ends before."""
        task = asyncio.create_task(work)
        end = asyncio.create_task(self.process.wait())
        try:
            await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            end.cancel()
            task.cancel()

    def last_words(self) -> str:
        """Return the end of what it wrote, without what only this machine knows."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-3:])[-500:] or "it wrote nothing"

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()

    async def ended(self) -> None:
        """Wait for the end, and forget the process."""
        await self.process.wait()
        self._living.discard(self)


class Actor:
    """An object in another process. `call` runs one of its methods there."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._count = 0
        self._reader = asyncio.create_task(self._read())

    async def call(self, order: str, /, *, timeout: float = 120.0, **arguments: object) -> Any:
        """Run a method and return what it returns. Raises ChildFailed with its traceback."""
        self._count += 1
        number = self._count
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        line = json.dumps({"number": number, "method": order, "arguments": arguments})
        assert self.child.process.stdin is not None
        try:
            self.child.process.stdin.write(line.encode() + b"\n")
            await self.child.process.stdin.drain()
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError as exc:
            raise ChildFailed(f"{self.child.name}.{order}: no answer in {timeout:.0f} s") from exc
        except ConnectionError as exc:
            raise ChildFailed(f"{self.child.name} ended: {self.child.last_words()}") from exc
        finally:
            self._waiting.pop(number, None)

    async def stop(self) -> None:
        """End the process: nothing in it needs a good end."""
        self._reader.cancel()
        self.child.kill()
        await self.child.ended()

    async def _read(self) -> None:
        assert self.child.process.stdout is not None
        while line := await self.child.process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer["number"])
            if waiting is None or waiting.done():
                continue
            if "error" in answer:
                waiting.set_exception(ChildFailed(f"{self.child.name}: {answer['error']}"))
            else:
                waiting.set_result(answer["result"])
        for waiting in self._waiting.values():
            if not waiting.done():
                words = self.child.last_words()
                waiting.set_exception(ChildFailed(f"{self.child.name} ended: {words}"))


def python(*arguments: str) -> list[str]:
    """Return the command line of this Python."""
    return [sys.executable, *arguments]


def _clean_environment() -> dict[str, str]:
    """Return the environment without settings of Boxwall's: a run depends on its flags alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BOXWALL_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
