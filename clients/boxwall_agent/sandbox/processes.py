"""Processes by id, and namespaces by cookie: names that are never mistaken for a later one's."""

import contextlib
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from boxwall_agent.errors import CannotAttach
from boxwall_agent.netns import inside

_SO_NETNS_COOKIE: Final = 71
_DEAD_STATES: Final = b"ZX"
_GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL."""

_LONGEST: Final = 5.0
"""Seconds after which what does not die is given up."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process: its number, and when it started (clock ticks since boot), as numbers repeat."""

    pid: int
    start: int

    @property
    def is_alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        return process_id(self.pid) == self


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace. Inodes repeat; the cookie does not until the next boot."""

    inode: int
    cookie: int


def process_id(pid: int) -> ProcessId | None:
    """Return the process that has this number now, or None. Source: proc_pid_stat(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name, in parentheses, can hold anything.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in _DEAD_STATES else ProcessId(pid, int(fields[19]))


def this_process() -> ProcessId:
    """Return the id of the process that asks."""
    found = process_id(os.getpid())
    assert found is not None
    return found


def boot_id() -> str:
    """Return what is different after the next boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def namespace_of(pid: int) -> Namespace | None:
    """Return a process's network namespace. None: it has gone, or the kernel has no cookies."""
    path = f"/proc/{pid}/ns/net"

    def cookie() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            return there.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)

    try:
        found = inside(path, cookie)
        return Namespace(Path(path).stat().st_ino, struct.unpack("=Q", found)[0])
    except (CannotAttach, OSError):
        return None


def pids_in(namespace: Namespace) -> Iterator[int]:
    """Yield the processes in a namespace, but not the one that asks."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            if (entry / "ns/net").stat().st_ino == namespace.inode:
                pid = int(entry.name)
                if namespace_of(pid) == namespace:
                    yield pid


def end_all_in(namespace: Namespace) -> list[int]:
    """End every process in a namespace; return those that do not die."""
    began = time.monotonic()
    while True:
        spent = time.monotonic() - began
        number = signal.SIGTERM if spent < _GRACE else signal.SIGKILL
        opened = [one for pid in pids_in(namespace) if (one := _open(pid, namespace)) is not None]
        try:
            if not opened:
                return []
            if spent > _LONGEST:
                return list(pids_in(namespace))
            for descriptor in opened:
                _signal(descriptor, number)
            _wait_for(opened, _GRACE)
        finally:
            for descriptor in opened:
                os.close(descriptor)


def end_process(process: ProcessId) -> bool:
    """End one process; return whether it is gone. It need not be a child."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return True
        try:
            # Asked after it was opened: the number cannot be another's now.
            if not process.is_alive:
                return True
            _signal(descriptor, number)
            _wait_for([descriptor], _LONGEST)
        finally:
            os.close(descriptor)
    return not process.is_alive


def _open(pid: int, namespace: Namespace) -> int | None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    # As above: it was in the namespace when it was found, and it still is the same process.
    if namespace_of(pid) == namespace:
        return descriptor
    os.close(descriptor)
    return None


def _signal(descriptor: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def _wait_for(descriptors: list[int], patience: float) -> None:
    """Until all have ended, or for so long (seconds)."""
    poll = select.poll()
    left = set(descriptors)
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    until = time.monotonic() + patience
    while left and (remaining := until - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(remaining * 1000):
            poll.unregister(descriptor)
            left.discard(descriptor)
