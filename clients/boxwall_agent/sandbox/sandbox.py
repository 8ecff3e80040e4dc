"""A namespace with one link to the host, and a command that waits in it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from boxwall_agent.sandbox import records
from boxwall_agent.sandbox.addresses import LinkNetwork
from boxwall_agent.sandbox.errors import CannotSandbox
from boxwall_agent.sandbox.network import Say, forward, make_link, remove_link, uplink
from boxwall_agent.sandbox.processes import end_all_in, namespace_of
from boxwall_agent.sandbox.records import Record
from boxwall_agent.sandbox.resolver import loopback_resolvers, usable_inside

_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_UPSTREAM: Final = Path("/run/systemd/resolve/resolv.conf")
"""Where systemd-resolved keeps what is behind its stub."""


class Sandbox:
    """Made by `make`; nothing runs in it before `start`. Close it, whatever happens."""

    def __init__(self, record: Record, process: "subprocess.Popen[bytes]", go: int) -> None:
        self._record = record
        self._process = process
        self._go = go
        self._pin = -1
        """Keeps the namespace, and so the link, when the command has ended: what was refused last
        is still to be told."""
        self._networks: tuple[LinkNetwork, ...] = ()

    @classmethod
    def make(cls, record: Record, command: Sequence[str], say: Say) -> Self:
        """Make the namespace and its link; the command waits. Completes the record.

        Blocks, and must be called before the process uses gRPC. Raises CannotSandbox.
        """
        ready, is_ready = os.pipe()
        wait, go = os.pipe()
        try:
            process = launch(
                command, signal.SIGKILL, pass_fds=(is_ready, wait), ready=is_ready, go=wait
            )
        finally:
            os.close(is_ready)
            os.close(wait)
        sandbox = cls(record, process, go)
        try:
            sandbox._set_up(ready, say)
        except BaseException:
            sandbox.close()
            raise
        finally:
            os.close(ready)
        return sandbox

    @property
    def record(self) -> Record:
        """With the namespace in it."""
        return self._record

    @property
    def addresses(self) -> tuple[str, ...]:
        """What the box may send from."""
        return tuple(one.box for one in self._networks)

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process that is, or will be, the command."""
        return self._process

    def start(self, say: Say) -> None:
        """Let the command run. A box's policy must be in force by now."""
        told = {"resolv_conf": self._resolv_conf(say), "beside": str(self._beside)}
        # Broken: somebody has killed the process, and its status will say so.
        with suppress(BrokenPipeError), os.fdopen(self._take_go(), "wb") as pipe:
            pipe.write(json.dumps(told).encode())

    def close(self) -> list[int]:
        """End everything in the namespace, and remove it and its link. Blocks for some seconds at
        most.

        Returns the processes that do not die. Closing again does nothing more.
        """
        if self._go >= 0:
            os.close(self._take_go())  # it leaves by itself, having run nothing
            self._process.wait()
        left = []
        if self._record.namespace is not None:
            left = end_all_in(self._record.namespace)
        remove_link(self._record.link, self._record.box_id)
        if self._pin >= 0:
            os.close(self._pin)
            self._pin = -1
        self._beside.unlink(missing_ok=True)
        return left

    def _set_up(self, ready: int, say: Say) -> None:
        if not os.read(ready, 1):
            raise CannotSandbox("the kernel gives no network namespace; the line before says why")
        host = uplink()
        forward(host, say)
        try:
            self._pin = os.open(f"/proc/{self._process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise CannotSandbox(f"the sandbox has ended before it began: {exc}") from exc
        self._record = replace(self._record, namespace=namespace_of(self._process.pid))
        records.save(self._record)
        with records.locked():
            host = uplink()
            self._networks = make_link(
                self._record.link, self._record.box_id, self._process.pid, host
            )

    def _take_go(self) -> int:
        go, self._go = self._go, -1
        return go

    @property
    def _beside(self) -> Path:
        return records.folder_of(self._record.box_id).with_suffix(".resolv.conf")

    def _resolv_conf(self, say: Say) -> str | None:
        """What must be different inside. None: nothing."""
        host = _read(_RESOLV_CONF)
        unusable = loopback_resolvers(host)
        if not unusable:
            return None
        text, servers = usable_inside(host, _read(_UPSTREAM), self._networks[0].host)
        say(
            f"/etc/resolv.conf names {unusable[0]}, which is this host's loopback; "
            f"inside it names {', '.join(servers)}"
        )
        return text


def launch(
    command: Sequence[str],
    death_signal: signal.Signals,
    *,
    pass_fds: tuple[int, ...] = (),
    ready: int | None = None,
    go: int | None = None,
    **more: Any,
) -> "subprocess.Popen[bytes]":
    """Start a command that ends with this process. `more` goes to Popen. See `launch`."""
    asked: dict[str, Any] = {
        "parent": os.getpid(),
        "death_signal": int(death_signal),
        "mask": _mask_before(),
    }
    if go is not None:
        asked |= {"ready": ready, "go": go}
    this = (sys.executable, "-P", "-m", "boxwall_agent.sandbox.launch", json.dumps(asked))
    return subprocess.Popen((*this, *command), pass_fds=pass_fds, **more)


def _mask_before() -> list[int]:
    """What was blocked before the runner blocked what it waits for."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return [int(number) for number in blocked if number not in HELD]


FORWARDED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""What the runner waits for, and passes on."""

HELD: Final = (*FORWARDED, signal.SIGTTOU)
"""What it blocks; the last so that a line on stderr never stops it while a shell inside has the
terminal."""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
