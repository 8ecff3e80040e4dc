"""Network namespaces: being in another one for a moment."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

from boxwall_agent.errors import CannotAttach

_CLONE_NEWNET: Final = 0x40000000
_libc: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(path: str) -> Iterator[None]:
    """Sockets that this thread opens belong to the namespace at `path`. Raises CannotAttach.

    Only the thread is moved. One that cannot be moved back is not used again.
    """
    with _opened("/proc/thread-self/ns/net") as before:
        try:
            with _opened(path) as there:
                _enter(there)
        except OSError as exc:
            raise CannotAttach(f"{path} is not a network namespace: {exc.strerror}") from exc
        try:
            yield
        finally:
            _enter(before)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield number
    finally:
        os.close(number)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
