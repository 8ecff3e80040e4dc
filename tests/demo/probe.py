"""The other end of the program in the box."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo.story import Target

PATIENCE: Final = 30.0
"""Seconds for everything that the program is asked for."""

_PROGRAM: Final = Path(__file__).with_name("inside.py")


@dataclass(frozen=True, slots=True)
class Ended:
    """A download's end; `last`: when its last byte came, in seconds of the monotonic clock."""

    last: float
    octets: int


class Probe:
    """Asks the program in the box."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ended: defaultdict[str, asyncio.Queue[Ended]] = defaultdict(asyncio.Queue)

    async def listen(self) -> None:
        """Until the program ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "ended" in told:
                self._ended[told["ended"]].put_nowait(Ended(told["last"], told["octets"]))
            else:
                self._told.put_nowait(told)

    async def attempts(self, targets: Sequence[Target]) -> AsyncIterator[tuple[bool, float]]:
        """Try each target in turn; yield whether it was reached, and in how many milliseconds."""
        parts = [{"name": t.name, "address": t.address, "port": t.port} for t in targets]
        self._ask({"try": parts})
        for _ in targets:
            told = await self._next()
            yield told["reached"], told["milliseconds"]
        await self._next()

    async def downloads(self) -> dict[str, int]:
        """How many octets each running download has."""
        self._ask({"try": []})
        found: dict[str, int] = (await self._next())["downloads"]
        return found

    def download(self, name: str) -> None:
        """Begin a download."""
        self._ask({"download": name})

    async def ended(self, name: str, patience: float) -> Ended | None:
        """Wait for the end of a download. None: it did not come."""
        try:
            async with asyncio.timeout(patience):
                return await self._ended[name].get()
        except TimeoutError:
            return None

    def _ask(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            return await self._told.get()


@asynccontextmanager
async def probing(prefix: Sequence[str], authority: Path) -> AsyncIterator[Probe]:
    """Run the program by a command line that begins with `prefix`; it is gone at the end."""
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *(sys.executable, str(_PROGRAM), str(authority)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us
    )
    probe = Probe(process)
    try:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(probe.listen())
            yield probe
            listening.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
