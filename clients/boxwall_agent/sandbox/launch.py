"""Becomes a command, when told to: `python -m boxwall_agent.sandbox.launch JSON COMMAND ...`.

The runner cannot fork once it has used gRPC, so that this process is started before, and waits. It
imports nothing that is slow. JSON is an object:

    parent         process id of the runner: if it is gone, so is this process
    death_signal   what the kernel sends when the runner dies
    mask           signals to block in the command; until then those that the runner blocks are
    ready, go      for a sandbox: file descriptors. A new network namespace is made, "ready" gets a
                   byte, and a JSON object is awaited on "go": {"resolv_conf": TEXT or null,
                   "beside": PATH}. If "go" ends without one, nothing is run.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC_SLAVE: Final = 0x4000 | 0x80000
_PR_SET_PDEATHSIG: Final = 1

CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127
"""As shells say it."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def main(asked: dict[str, Any], command: list[str]) -> NoReturn:
    """Wait if asked to, and become the command."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, asked["death_signal"], 0, 0, 0))
    if os.getppid() != asked["parent"]:
        sys.exit(1)
    if "go" in asked:
        _wait_in_a_namespace(asked["ready"], asked["go"])
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        # What Python changed for itself. SIGINT that was ignored stays so: it did not change that.
        if number is not signal.SIGINT or signal.getsignal(number) is signal.default_int_handler:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["mask"])
    try:
        os.execvp(command[0], command)  # noqa: S606  # that is what it is for
    except OSError as exc:
        sys.stderr.write(f"boxwall: {command[0]!a} cannot be run: {exc.strerror}\n")
        sys.exit(NOT_FOUND if isinstance(exc, FileNotFoundError) else CANNOT_EXECUTE)


def _wait_in_a_namespace(ready: int, go: int) -> None:
    _check(_libc.unshare(_CLONE_NEWNET))
    os.write(ready, b"1")
    os.close(ready)
    with os.fdopen(go, "rb") as pipe:
        said = pipe.read()
    if not said:
        sys.exit(0)
    told = json.loads(said)
    if told["resolv_conf"] is not None:
        _use_resolv_conf(told["resolv_conf"], Path(told["beside"]))


def _use_resolv_conf(text: str, beside: Path) -> None:
    """For this process and what it starts; the host's file stays as it is."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, _MS_REC_SLAVE, None))
    beside.write_text(text)
    beside.chmod(0o644)
    _check(_libc.mount(bytes(beside), b"/etc/resolv.conf", None, _MS_BIND, None))
    beside.unlink()


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        sys.stderr.write(f"boxwall: the sandbox cannot be made: {os.strerror(number)}\n")
        sys.exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
