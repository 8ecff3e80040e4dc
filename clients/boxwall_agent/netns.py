"""Network namespaces: doing something in another one."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from boxwall_agent.errors import CannotAttach

_CLONE_NEWNET: Final = 0x40000000
_libc: Final = ctypes.CDLL(None, use_errno=True)

T = TypeVar("T")


def inside(path: str, work: Callable[[], T]) -> T:
    """Return what `work` does: sockets that it opens belong to the namespace at `path`.

    It has a thread of its own, which ends in that namespace: one that is shared would have to be
    moved back, and could fail to be. Raises CannotAttach, and what `work` raises.
    """

    def moved() -> T:
        try:
            with opened(path) as there:
                _enter(there)
        except OSError as exc:
            raise CannotAttach(f"{path} is not a network namespace: {exc.strerror}") from exc
        return work()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="inside") as threads:
        return threads.submit(moved).result()


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A namespace as a file descriptor. Raises OSError."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield number
    finally:
        os.close(number)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
