"""Databases that cannot be served are refused, with what to do, and left as they are."""

import asyncpg
import pytest

from boxwall_server.store import postgres_schema
from boxwall_server.store.errors import StoreUnusable
from boxwall_server.store.postgres import open_postgres
from boxwall_server.store.postgres_url import PostgresUrl
from fakes.postgres_server import PASSWORD, PostgresServer, run
from fakes.store_cases import create


@pytest.fixture
async def url(postgres: PostgresServer) -> PostgresUrl:
    """An empty database."""
    return await postgres.database()


async def test_a_newer_schema_is_refused_naming_both_versions(url: PostgresUrl) -> None:
    await (await open_postgres(url)).close()
    await run(url, "UPDATE boxwall.installation SET schema_version = 77")
    with pytest.raises(StoreUnusable, match="schema 77; this one knows up to 1"):
        await open_postgres(url)


OTHERS = {
    "tables": ["CREATE TABLE recipes (name text)"],
    "a schema of our name": ["CREATE SCHEMA boxwall", "CREATE TABLE boxwall.recipes (name text)"],
    "a table of our name": [
        "CREATE SCHEMA boxwall",
        "CREATE TABLE boxwall.installation (product text, schema_version int)",
        "INSERT INTO boxwall.installation VALUES ('recipes', 1)",
    ],
}


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
async def test_a_database_of_another_program_is_refused_and_left_alone(
    url: PostgresUrl, statements: list[str]
) -> None:
    await run(url, *statements)
    with pytest.raises(StoreUnusable, match="another program"):
        await open_postgres(url)
    connection = await asyncpg.connect(url.text)
    assert await connection.fetchval("SELECT to_regclass('boxwall.boxes')") is None
    await connection.close()


async def test_a_read_only_database_is_refused(postgres: PostgresServer, url: PostgresUrl) -> None:
    name = url.text.rpartition("/")[2]
    await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(StoreUnusable, match="read-only"):
        await open_postgres(url)


async def test_a_database_that_does_not_wait_for_its_disk_is_refused(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    name = url.text.rpartition("/")[2]
    await postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(StoreUnusable, match="could be lost"):
        await open_postgres(url)


async def test_a_database_in_another_encoding_is_refused(postgres: PostgresServer) -> None:
    await postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(StoreUnusable, match="LATIN1"):
        await open_postgres(postgres.url("latin"))


async def test_a_user_who_may_not_make_tables_is_told_so(
    postgres: PostgresServer, url: PostgresUrl
) -> None:
    await postgres.execute("CREATE USER guest PASSWORD 'guest'")
    text = url.text.replace(url.text.split("//")[1].split("@")[0], "guest:guest")
    with pytest.raises(StoreUnusable, match="may not make tables"):
        await open_postgres(PostgresUrl.parse(text))


async def test_no_error_shows_the_password(postgres: PostgresServer, url: PostgresUrl) -> None:
    wrong = url.text.replace("cr%2Fet", "wrong")
    closed = url.text.replace(f":{postgres.port}/", ":1/")
    absent = postgres.url("absent").text
    senseless = f"{url.text}?sslmode=senseless"
    for text in (wrong, closed, absent, senseless):
        with pytest.raises(StoreUnusable) as refused:
            await open_postgres(PostgresUrl.parse(text))
        for secret in (PASSWORD, "se:wrong", "se%3A"):
            assert secret not in str(refused.value)
        assert "postgresql://postgres@127.0.0.1" in str(refused.value)


async def test_a_migration_that_is_killed_leaves_the_schema_as_it_was(
    url: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_postgres(url)
    await store.apply(create())
    await store.close()
    whole = postgres_schema.migrations()
    killed = "ALTER TABLE boxes ADD colour text; SELECT pg_terminate_backend(pg_backend_pid())"
    monkeypatch.setattr(postgres_schema, "migrations", lambda: [*whole, killed])
    with pytest.raises(StoreUnusable):
        await open_postgres(url)
    monkeypatch.setattr(postgres_schema, "migrations", lambda: whole)
    store = await open_postgres(url)
    assert (await store.box("t1", "b1")).box.id == "b1"
    await store.close()
    better = "ALTER TABLE boxes ADD colour text"
    monkeypatch.setattr(postgres_schema, "migrations", lambda: [*whole, better])
    await (await open_postgres(url)).close()
    connection = await asyncpg.connect(url.text)
    assert await connection.fetchval("SELECT schema_version FROM boxwall.installation") == 2
    await connection.close()
