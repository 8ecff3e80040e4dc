"""Reading all boxes of a tenant page by page, as of one commit."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, Self

from boxwall_server.changes.change import BoxRecord
from boxwall_server.changes.revision import Cursor
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.postgres_errors import translating
from boxwall_server.store.postgres_reads import page_of_boxes
from boxwall_server.store.postgres_tail import read_head

PAGE: Final = 500


class PostgresScan:
    """Pages from a transaction in REPEATABLE READ, whose owner ends it. Raises StoreError."""

    def __init__(self, connection: Connection, tenant: str, cursor: Cursor) -> None:
        self._connection = connection
        self._tenant = tenant
        self.cursor = cursor

    @classmethod
    async def begin(cls, connection: Connection, tenant: str) -> Self:
        """Fix the moment that is shown: that of the first statement."""
        return cls(connection, tenant, await read_head(connection))

    async def pages(self) -> AsyncIterator[Sequence[BoxRecord]]:
        """Yield the boxes."""
        after = ""
        while True:
            with translating():
                page = await page_of_boxes(self._connection, self._tenant, after, PAGE)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1].id
