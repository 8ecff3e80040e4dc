"""The runner while its command runs: it waits, and passes signals on.

Both are in one process group, as `time` and `sudo` have it: what the terminal sends reaches both,
and the shell's job control sees one job. The runner takes its signals from the kernel one by one,
with their origin, so that it passes on those that were sent to it alone.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from boxwall_agent.sandbox.errors import Interrupted
from boxwall_agent.sandbox.sandbox import FORWARDED, HELD

_FROM_KERNEL: Final = 0x80
"""SI_KERNEL: the terminal sent it, to the whole process group."""


def hold_signals() -> None:
    """From now on signals wait until somebody takes them. Call it before there are threads."""
    ignored = {number for number in FORWARDED if signal.getsignal(number) is signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*HELD} - ignored)


def check_signals() -> None:
    """Raises Interrupted if a signal waits."""
    waiting = signal.sigpending() & set(FORWARDED)
    if waiting:
        raise Interrupted(signal.Signals(min(waiting)))


def take_signals(take: Callable[[signal.Signals, bool], None]) -> None:
    """Call `take` in the running event loop for each signal, for as long as the loop runs.

    It is told whether the signal reached the command too.
    """
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=_take, args=(loop, take), daemon=True)
    thread.start()


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a child; return its exit status, for a signal 128 and its number."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    status = process.wait()
    return status if status >= 0 else 128 - status


def _take(loop: asyncio.AbstractEventLoop, take: Callable[[signal.Signals, bool], None]) -> None:
    while True:
        # Those that are ignored (nohup) never come.
        found = signal.sigwaitinfo(FORWARDED)
        number = signal.Signals(found.si_signo)
        with contextlib.suppress(RuntimeError):  # the loop has ended: so will the process
            loop.call_soon_threadsafe(take, number, found.si_code == _FROM_KERNEL)
