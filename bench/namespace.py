"""Network namespaces without names: each belongs to an actor, and goes with it however that ends.

`python -m bench.namespace PID LOG PROGRAM …` runs a program in the namespace of another process,
after a line in LOG that says when (monotonic clock). `python -m bench.namespace` only says whether
all this works here.
"""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import Bench
from bench.processes import ROOT, Actor, Child, ChildFailed, python

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
POLL = 0.001


def leave() -> None:
    """Move this process into a new network namespace of its own; threads made later follow."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network namespace cannot be made")


def why_not() -> str:
    """Return why nothing can be measured in namespaces here. Empty: it can."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root: it makes network namespaces and writes to nf_tables"
    probe = subprocess.run(
        python("-m", "bench.namespace"), cwd=ROOT, capture_output=True, text=True
    )
    return "" if probe.returncode == 0 else probe.stderr.strip().splitlines()[-1]


async def spawn_inside(bench: Bench, place: Actor, name: str, argv: list[str], log: Path) -> Child:
    """Run a program in the namespace of an actor. Its output goes to `log`."""
    pid = str(place.child.pid)
    return await bench.processes.spawn(name, python("-m", "bench.namespace", pid, str(log), *argv))


async def said(child: Child, log: Path, words: bytes, timeout: float = 60.0) -> float:
    """Wait until a program has said something; return the seconds since it was executed."""
    until = time.monotonic() + timeout
    while True:
        text = log.read_bytes() if log.exists() else b""
        if words in text:
            return time.monotonic() - executed_at(log)
        if child.process.returncode is not None:
            raise ChildFailed(f"{child.name} ended: {text[-300:].decode(errors='replace')}")
        if time.monotonic() > until:
            raise TimeoutError(f"{child.name} does not say {words!a}")
        await asyncio.sleep(POLL)


def executed_at(log: Path) -> float:
    """Return when the program was executed (monotonic clock)."""
    return float(log.read_bytes().partition(b"\n")[0])


def main() -> int:
    """Become the program, or try what is needed."""
    if len(sys.argv) == 1:
        return _try()
    pid, log, *argv = sys.argv[1:]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "the namespace cannot be entered")
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the program keeps this
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.write(output, f"{time.monotonic()}\n".encode())
    os.execvp(argv[0], argv)


def _try() -> int:
    from boxwall_agent.nft.kernel import open_nftables

    leave()
    open_nftables().close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
