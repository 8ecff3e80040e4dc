"""Long lists: await the whole, or walk through it page by page."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

Fetch = Callable[[str], Awaitable[tuple[Sequence[T], str]]]
"""Given a page token ("": the first page), return a page and the next token ("": none)."""


class Pages(Generic[T]):
    """A list that is fetched when it is needed.

    `await pages` gives all of it; `async for item in pages` fetches a page when it gets there, and
    can stop early. Either may be done again, and asks again. What exists throughout comes exactly
    once; what is written meanwhile may come or not.
    """

    def __init__(self, fetch: Fetch[T]) -> None:
        self._fetch = fetch

    def __await__(self) -> Generator[object, None, list[T]]:
        return self._all().__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        token = ""
        while True:
            items, token = await self._fetch(token)
            for item in items:
                yield item
            if not token:
                return

    async def _all(self) -> list[T]:
        return [item async for item in self]
