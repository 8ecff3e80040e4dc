"""The schema in a PostgreSQL database: refusing, making, migrating."""

import secrets
from importlib import resources
from typing import Final

import asyncpg

from boxwall_server.changes.revision import NO_COMMIT
from boxwall_server.store.errors import StoreUnusable
from boxwall_server.store.postgres_connect import Connection
from boxwall_server.store.postgres_url import PostgresUrl

PRODUCT: Final = "boxwall"
OLDEST_SERVER: Final = 13
LOCK: Final = 0x426F7857
"""Advisory lock ("BoxW") of whoever makes or migrates the schema."""

_OTHERS_TABLES: Final = """
SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
AND n.nspname !~ '^pg_(toast|temp)' AND NOT EXISTS (
    SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e'
)
"""


async def prepare(connection: Connection, url: PostgresUrl) -> None:
    """Make the schema, or bring it up to date. Servers that start at once take turns.

    All of it is one transaction: killed in the middle, it leaves the schema as it was. Raises
    StoreUnusable, having changed nothing, for a database that cannot be served.
    """
    await _check_server(connection, url)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        version = await _version(connection, url)
        scripts = migrations()
        if version > len(scripts):
            raise StoreUnusable(
                f"{url} was written by a newer version of Boxwall (schema {version}; this one "
                f"knows up to {len(scripts)}); upgrade Boxwall, or restore a backup from before"
            )
        try:
            await _migrate(connection, version, scripts)
        except asyncpg.InsufficientPrivilegeError as exc:
            raise StoreUnusable(
                f"{url}: this user may not make tables ({exc}); let it own the database"
            ) from exc


def migrations() -> list[str]:
    """Return the scripts in order: the first makes version 1."""
    folder = resources.files("boxwall_server.store") / "schema_postgres"
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return [script.read_text(encoding="utf-8") for script in scripts]


async def _check_server(connection: Connection, url: PostgresUrl) -> None:
    major = connection.get_server_version().major
    if major < OLDEST_SERVER:
        raise StoreUnusable(f"{url} is PostgreSQL {major}; Boxwall needs {OLDEST_SERVER} or newer")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreUnusable(
            f"{url} stores text as {encoding}; make a database with createdb --encoding=UTF8"
        )
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise StoreUnusable(f"{url} is read-only: it is a standby; name the primary with --store")
    if await connection.fetchval("SHOW synchronous_commit") == "off":
        raise StoreUnusable(
            f"{url} has synchronous_commit off, so what is acknowledged could be lost; turn it on "
            "for the database and the user"
        )
    if await connection.fetchval("SHOW transaction_read_only") == "on":
        raise StoreUnusable(
            f"{url} is read-only; see default_transaction_read_only of the database and the user"
        )


async def _version(connection: Connection, url: PostgresUrl) -> int:
    """Return the version of our schema; 0: there is none. Raises StoreUnusable for another's."""
    if await connection.fetchval("SELECT to_regclass('boxwall.installation')") is not None:
        row = await connection.fetchrow("SELECT product, schema_version FROM boxwall.installation")
        if row is not None and row["product"] == PRODUCT:
            return int(row["schema_version"])
    elif not await connection.fetchval(_OTHERS_TABLES):
        return 0
    raise StoreUnusable(
        f"{url} is a database of another program; make one for Boxwall alone: createdb boxwall"
    )


async def _migrate(connection: Connection, version: int, scripts: list[str]) -> None:
    if version == len(scripts):
        return
    if version == 0:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS boxwall")
    for script in scripts[version:]:
        await connection.execute(script)
    if version == 0:
        await connection.execute(
            "INSERT INTO head (epoch, revision, commit_id, floor) VALUES ($1, 0, $2, 0)",
            secrets.token_bytes(16),
            NO_COMMIT,
        )
    await connection.execute(
        "INSERT INTO installation (product, schema_version) VALUES ($1, $2) "
        "ON CONFLICT (one) DO UPDATE SET schema_version = excluded.schema_version",
        PRODUCT,
        len(scripts),
    )
