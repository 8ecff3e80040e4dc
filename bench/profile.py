"""`python -m bench.profile`: where the time of a durable update goes, by thread and by function.

Starts a server that samples itself, drives it as `updates` does, and prints what it found. Not part
of the report: a server that is sampled is a little slower.
"""

import argparse
import asyncio
import collections
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType

from bench.harness import Bench
from bench.messages import UPDATE
from bench.processes import Processes, python

BOXES = 1_000
INTERVAL = 0.001
IDLE = ("select", "poll")
"""Functions in which the event loop waits."""


class Sampler:
    """Looks at the event loop's stack after every millisecond of CPU time of the process."""

    def __init__(self) -> None:
        self._own: collections.Counter[CodeType] = collections.Counter()
        self._within: collections.Counter[CodeType] = collections.Counter()

    def start(self) -> None:
        """Sample until the process ends."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def found(self) -> dict[str, list[tuple[str, float]]]:
        """Return the functions with the most samples: their own, and with what they call.

        As shares of the samples that were not idle. C functions count for their caller:
        Handle._run is gRPC itself.
        """
        signal.setitimer(signal.ITIMER_PROF, 0)
        total = max(1, self._own.total())
        return {
            "own": [(_place(code), n / total) for code, n in self._own.most_common(40)],
            "within": [(_place(code), n / total) for code, n in self._within.most_common(60)],
        }

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code.co_name in IDLE:
            return
        self._own[frame.f_code] += 1
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._within.update(seen)


def _place(code: CodeType) -> str:
    path = Path(code.co_filename)
    return f"{path.parent.name}/{path.stem}.{code.co_qualname}"


def serve(output: str) -> None:
    """Be the server, sampled; write what was found when it ends."""
    from boxwall_server.main import server

    sampler = Sampler()
    sampler.start()
    try:
        server(sys.argv[3:], standalone_mode=False)
    finally:
        Path(output).write_text(json.dumps(sampler.found()))


def thread_seconds(pid: int) -> dict[str, float]:
    """Return the CPU time of each thread; the one with the id of the process is the loop."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = "event loop" if task.name == str(pid) else (task / "comm").read_text().strip()
        spent = int((task / "schedstat").read_text().split()[0]) / 1e9
        found[f"{name} ({task.name})"] = spent
    return found


async def profile(directory: Path, callers_count: int, seconds: float) -> None:
    """Drive a sampled server, and print."""
    output = directory / "samples.json"
    socket = directory / "boxwall.sock"
    async with Processes(directory) as processes:
        bench = Bench(quick=True, directory=directory, processes=processes)
        flags = ["--listen", f"unix:{socket}", "--metrics-listen", "off"]
        store = ["--store", f"sqlite:{directory / 'store.db'}"]
        argv = python("-m", "bench.profile", "serve", str(output), *flags, *store)
        child = await processes.spawn("sampled", argv)
        async with bench.actor("bench.callers:Callers") as callers:
            await callers.call("connect", path=str(socket))
            await callers.call("create", boxes=BOXES)
            before = thread_seconds(child.pid)
            run = await callers.call(
                "run", method=UPDATE, boxes=BOXES, callers=callers_count, seconds=seconds, warm=0.0
            )
            after = thread_seconds(child.pid)
        await child.stop()
    _print(run["rate"], run["count"], {t: after[t] - before.get(t, 0.0) for t in after}, output)


def _print(rate: float, count: int, threads: Mapping[str, float], output: Path) -> None:
    print(f"{rate:.0f} updates/s, {count} in all; CPU per update by thread:")
    for name, spent in sorted(threads.items(), key=lambda item: -item[1]):
        if spent / count > 1e-6:
            print(f"  {spent / count * 1e6:7.1f} us  {name}")
    samples = json.loads(output.read_text())
    for kind in ("own", "within"):
        print(f"event loop, {kind} (share of samples while busy):")
        for place, share in samples[kind]:
            print(f"  {share:6.1%}  {place}")


def main() -> None:
    """Profile, or be the sampled server."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
        os._exit(0)
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boxwall-profile-", dir="/var/tmp") as directory:
        asyncio.run(profile(Path(directory), options.callers, options.seconds))


if __name__ == "__main__":
    main()
