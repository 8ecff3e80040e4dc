"""One event loop on one background thread, for callers that block."""

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar
from weakref import WeakSet

from boxwall.sdk.errors import BadConfig

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads. Ends with `close`, at the latest when the program does."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._ready = threading.Event()
        self._closing = threading.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        # A daemon: a program that never closes its clients ends all the same (see `_close_all`).
        self._thread = threading.Thread(target=self._main, name="boxwall.sync", daemon=True)
        self._thread.start()
        self._ready.wait()
        _open.add(self)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop, wait, and return or raise what it does.

        An interrupt of the waiting thread (Ctrl-C) cancels the work. Raises BadConfig if the loop
        is closed, belongs to a parent process, or is the one that calls.
        """
        problem = self._problem()
        if problem:
            work.close()
            raise BadConfig(problem)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError as exc:
            raise BadConfig("the client was closed during the call") from exc
        finally:
            future.cancel()

    def close_after(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` and close. If that was done before, or in another process, do nothing."""
        if self._problem():
            work.close()
            return
        self.run(work)
        self.close()

    def close(self) -> None:
        """Stop the loop: work in progress is cancelled. Closing again does nothing."""
        with self._closing:
            if self._closed or self._pid != os.getpid():
                return
            self._closed = True
        self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def is_current(self) -> bool:
        """Whether the caller is on this very thread, where it must not wait."""
        return threading.current_thread() is self._thread

    def _problem(self) -> str:
        if self._pid != os.getpid():
            return "the client belongs to the parent process; make a new one after a fork"
        if self._closed:
            return "the client is closed; make a new one"
        if self.is_current:
            return "a blocking call on the client's own thread would wait for itself"
        return ""

    def _main(self) -> None:
        # `run` cancels what is left and closes generators, the default client's among them.
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()


# The thread of the default client, which is process-wide: here, unlike in asyncio, no loop is the
# caller's own.
_open: WeakSet[LoopThread] = WeakSet()
_default: list[LoopThread] = []
_default_lock = threading.Lock()


def default_thread() -> LoopThread:
    """Return the thread of the default client, started if there is none."""
    with _default_lock:
        if not _default:
            _default.append(LoopThread())
        return _default[0]


def close_default_thread() -> None:
    """Close the default client and its thread; the next call without a client starts anew."""
    with _default_lock:
        while _default:
            _default.pop().close()


def _close_all() -> None:
    for thread in tuple(_open):
        thread.close()


def _forget_after_fork() -> None:
    global _default_lock  # noqa: PLW0603  # another thread may have held it when the process forked
    _default_lock = threading.Lock()
    _default.clear()
    _open.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
