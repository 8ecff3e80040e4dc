"""A standby of a PostgreSQL of the tests' own, by streaming replication that nobody waits for."""

import asyncio

from fakes.line import Line
from fakes.postgres_server import PASSWORD, PostgresServer


class PostgresStandby(PostgresServer):
    """A copy of a running primary, which it then follows over a line."""

    def __init__(self, primary: PostgresServer, line: Line) -> None:
        self._primary = primary
        self._line = line
        super().__init__()

    def _make(self) -> None:
        data = self.folder / "data"
        self.run_as_owner(
            *("pg_basebackup", "-D", data, "-h", "127.0.0.1", "-p", str(self._primary.port)),
            *("-U", "postgres", "--wal-method=stream", "--checkpoint=fast", "--no-sync"),
            PGPASSWORD=PASSWORD,
        )
        (data / "standby.signal").touch()
        where = f"host=127.0.0.1 port={self._line.port} user=postgres password={PASSWORD}"
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{where}'\n")

    async def has_caught_up(self) -> None:
        """Wait until it has what the primary has by now."""
        at = await self._primary.value("SELECT pg_current_wal_flush_lsn()::text")
        async with asyncio.timeout(30):
            while await self.value(f"SELECT pg_last_wal_replay_lsn() < '{at}'"):  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.02)

    async def promote(self) -> None:
        """Make it a primary: it takes writes on return."""
        assert await self.value("SELECT pg_promote()"), (self.folder / "log").read_text()
