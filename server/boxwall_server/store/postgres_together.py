"""Several statements sent as one.

While a batch is written no other server can write, and each way to the database and back takes as
long as a busy event loop makes it. So all that a batch changes goes there at once:

    WITH part_1 AS (INSERT ...), part_2 AS (UPDATE ...) SELECT pg_notify(...)
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.rows import Row

_PARAMETER: Final = re.compile(r"\$(\d+)")


class Together:
    """Statements that change different rows: none sees what another does."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._values: list[Any] = []

    def add(self, statement: str, *values: object) -> None:
        """Add a statement that changes rows, with its values, $1 and so on."""
        self._parts.append(self._numbered(statement, values))

    def add_rows(self, statement: str, rows: Sequence[Row]) -> None:
        """Add a statement that takes an array for each column, if there are rows."""
        if rows:
            self.add(statement, *columns_of(rows))

    async def run(self, connection: Connection, last: str, *values: object) -> None:
        """Run all of it, and at last a SELECT. There must be parts, and no more are added."""
        last = self._numbered(last, values)
        parts = ", ".join(f"part_{n} AS ({part})" for n, part in enumerate(self._parts, start=1))
        await connection.execute(f"WITH {parts} {last}", *self._values)

    def _numbered(self, statement: str, values: Sequence[object]) -> str:
        """Keep the values of a statement; return it with their numbers among all."""
        before = len(self._values)
        self._values += values
        return _PARAMETER.sub(lambda found: f"${int(found[1]) + before}", statement)


def columns_of(rows: Iterable[Row]) -> list[list[Any]]:
    """Return rows as an array for each column, as `unnest` wants them."""
    return [list(column) for column in zip(*rows, strict=True)]
