"""Long lists and streams, as plain iterators."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from boxwall.sdk import pages
from boxwall.sync.loop_thread import LoopThread

S = TypeVar("S")
T = TypeVar("T")


class _End:
    """What comes after the last item; StopAsyncIteration cannot leave a coroutine."""


_END: Final = _End()


class Pages(Generic[S, T]):
    """A list that is fetched page by page while it is walked through. May be walked through again.

    `list(pages)` is all of it.
    """

    def __init__(
        self, thread: LoopThread, source: pages.Pages[S], convert: Callable[[S], T]
    ) -> None:
        """For the SDK itself."""
        self._thread = thread
        self._source = source
        self._convert = convert

    def __iter__(self) -> Iterator[T]:
        items = aiter(self._source)
        while True:
            item = self._thread.run(_next_of(items))
            if isinstance(item, _End):
                return
            yield self._convert(item)


class Stream(Generic[S, T]):
    """What happens, for ever. Stop with `close`, or use it as a context:

    `with Box.watch() as changes:` and in it `for change in changes: ...`
    """

    def __init__(
        self, thread: LoopThread, source: AsyncGenerator[S, None], convert: Callable[[S], T]
    ) -> None:
        """For the SDK itself."""
        self._thread = thread
        self._source = source
        self._convert = convert

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Wait for the next item; Ctrl-C ends the stream."""
        item = self._thread.run(_next_of(self._source))
        if isinstance(item, _End):
            raise StopIteration
        return self._convert(item)

    def close(self) -> None:
        """End the stream. Not while another thread waits for it. Closing again does nothing."""
        self._thread.run(self._source.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


async def _next_of(items: AsyncIterator[T]) -> T | _End:
    return await anext(items, _END)
