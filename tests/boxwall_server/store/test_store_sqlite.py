"""What is SQLite's own: files that cannot be served, disks that are full, histories rolled back."""

import asyncio
import contextlib
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boxwall_server.changes.change import Timestamp
from boxwall_server.changes.revision import Revision
from boxwall_server.store import sqlite, sqlite_file
from boxwall_server.store.errors import (
    DiskFull,
    StoreBroken,
    StoreUnavailable,
    StoreUnusable,
    TooManyBoxes,
)
from boxwall_server.store.records import BoxFilter
from boxwall_server.store.sqlite import SqliteStore, open_sqlite
from boxwall_server.store.sqlite_file import BUSY_PATIENCE, backup_file
from fakes.store_cases import Heard, create, set_policy, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is; nothing is there yet."""
    return tmp_path / "state" / "boxwall.db"


async def reopened(store: SqliteStore, path: Path) -> SqliteStore:
    await store.close()
    return await open_sqlite(path)


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create(labels=(("a", "b"),)))
    box = (await written(store, set_policy())).box
    head = store.head
    store = await reopened(store, path)
    assert (await store.box("t1", "b1")).box == box
    assert store.head == head
    assert await store.verify(head)
    assert (await written(store, set_policy())).revision == 3
    await store.close()


async def test_nobody_else_can_read_the_file(path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await store.close()


async def test_a_second_store_on_the_same_file_is_refused_at_once(path: Path) -> None:
    store = await open_sqlite(path)
    with pytest.raises(StoreUnusable, match="another server is using"):
        await open_sqlite(path)
    await store.close()
    await (await open_sqlite(path)).close()


async def test_a_newer_schema_is_refused_naming_both_versions(path: Path) -> None:
    await (await open_sqlite(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 77")
    with pytest.raises(StoreUnusable, match=r"schema 77; this one knows up to 2"):
        await open_sqlite(path)


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="another program"):
        await open_sqlite(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x" * 4096, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    path: Path, content: bytes
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match="not a database, or is damaged"):
        await open_sqlite(path)
    assert path.read_bytes() == content


async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnusable, match="--store"):
        await open_sqlite(tmp_path / "file" / "boxwall.db")
    with pytest.raises(StoreUnusable):
        await open_sqlite(tmp_path)


async def test_a_full_disk_fails_the_write_and_nothing_else(path: Path) -> None:
    store = await open_sqlite(path)
    heard = Heard()
    store.listen(heard)
    await store.apply(create())
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFull):
        await fill_up(store)
    reached = heard.revisions[-1]
    assert (await store.box("t1", "b1")).box.revision == reached
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert (await written(store, set_policy())).revision == reached + 1
    await store.close()


async def fill_up(store: SqliteStore) -> None:
    for _ in range(100):
        await store.apply(set_policy(policy=bytes(4000)))


async def test_a_commit_that_fails_is_answered_and_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(path)
    heard = Heard()
    store.listen(heard)
    await store.apply(create())

    def broken() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(store, "_sync", broken)
        outcomes = await asyncio.gather(
            *(store.apply(set_policy()) for _ in range(3)), return_exceptions=True
        )
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert (await store.box("t1", "b1")).box.revision == 1
    assert (await written(store, set_policy())).revision == 2
    assert heard.revisions == [1, 2]
    await store.close()


async def test_writes_after_close_are_refused_and_those_before_are_done(path: Path) -> None:
    store = await open_sqlite(path)
    async with asyncio.TaskGroup() as tasks:
        accepted = [tasks.create_task(store.apply(create(f"b{n}"))) for n in range(300)]
        await asyncio.sleep(0)
        await store.close()
    assert all(task.exception() is None for task in accepted)
    with pytest.raises(StoreUnavailable):
        await store.apply(create())


async def test_a_rolled_back_database_does_not_verify_what_was_said_since(path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    before = store.head
    await store.close()
    shutil.copytree(path.parent, path.parent.with_name("old"))
    store = await open_sqlite(path)
    await store.apply(set_policy(policy=b"lost"))
    lost = store.head
    await store.close()
    shutil.rmtree(path.parent)
    shutil.copytree(path.parent.with_name("old"), path.parent)
    store = await open_sqlite(path)
    await store.apply(set_policy(policy=b"other"))
    assert store.head.revision == lost.revision
    assert await store.verify(before)
    assert not await store.verify(lost)
    await store.close()


async def test_a_backup_has_the_same_boxes_and_another_epoch(path: Path, tmp_path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    head = store.head
    target = tmp_path / "copy.db"
    await store.backup(target)
    await store.apply(set_policy(policy=b"after"))
    with pytest.raises(FileExistsError):
        await store.backup(target)
    await store.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    copy = await open_sqlite(target)
    assert (await copy.box("t1", "b1")).box.policy == b"policy-0"
    assert copy.head.revision == Revision(1)
    assert copy.head.epoch != head.epoch
    assert not await copy.verify(head)
    await copy.close()


def test_a_backup_of_nothing_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="no store"):
        backup_file(tmp_path / "missing.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_file_from_before_tenants_were_counted_has_its_boxes_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *rest = sqlite_file._migrations()
    monkeypatch.setattr(sqlite_file, "_migrations", lambda: [first])
    sqlite_file.open_file(path).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executemany(
            "INSERT INTO boxes VALUES "
            "(?, ?1 || ?2, ?1 || ?2, '', '', '{}', '', x'', 'custom', 1, 1, NULL, '', 0, 0)",
            [("t1", "a"), ("t1", "b"), ("t2", "a")],
        )
    monkeypatch.setattr(sqlite_file, "_migrations", lambda: [first, *rest])
    store = await open_sqlite(path)
    with pytest.raises(TooManyBoxes):
        await store.apply(create("b9", max_boxes=2))
    await store.apply(create("b9", max_boxes=3))
    await store.apply(create("b9", tenant="t2", max_boxes=2))
    await store.close()


async def test_a_migration_that_fails_leaves_the_version_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    await store.close()
    known = sqlite_file._migrations()
    broken = "CREATE TABLE half (a); CREATE TABLE half (a)"
    monkeypatch.setattr(sqlite_file, "_migrations", lambda: [*known, broken])
    with pytest.raises(StoreUnusable):
        await open_sqlite(path)
    monkeypatch.setattr(sqlite_file, "_migrations", lambda: [*known, "CREATE TABLE more (a)"])
    store = await open_sqlite(path)
    assert (await store.box("t1", "b1")).box.id == "b1"
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(known) + 1,)
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_schema")}
    assert "more" in names
    assert "half" not in names


async def test_what_its_caller_gave_up_before_its_batch_began_is_not_written(path: Path) -> None:
    store = await open_sqlite(path)
    async with store._writer:  # as while a batch commits
        first = asyncio.ensure_future(store.apply(create("b1")))
        while store._group._waiting:  # noqa: ASYNC110  # until it is taken
            await asyncio.sleep(0)
        given_up = asyncio.ensure_future(store.apply(create("b2")))
        kept = asyncio.ensure_future(store.apply(create("b3")))
        await asyncio.sleep(0)
        given_up.cancel()
    await asyncio.gather(first, kept)
    page = await store.boxes("t1", BoxFilter(), after="", limit=9)
    assert [hosted.box.id for hosted in page] == ["b1", "b3"]
    assert store.head.revision == 2
    await store.close()


async def test_while_another_process_holds_the_file_reads_answer_and_a_write_waits(
    path: Path,
) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.ensure_future(store.apply(set_policy()))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(10):
            await store.box("t1", "b1")
            await asyncio.sleep(0.01)
        assert loop.time() - began < 2  # SQLite itself would sleep for five
        assert not write.done()
        other.execute("ROLLBACK")
    await write
    assert (await store.box("t1", "b1")).box.policy_revision == 2
    await store.close()


async def test_a_file_that_stays_held_fails_the_write_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_PATIENCE", 0.05)
    store = await open_sqlite(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await store.apply(create())
        other.execute("ROLLBACK")
    await store.apply(create())
    await store.close()


async def test_compaction_waits_for_a_held_file_too(path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        compaction = asyncio.ensure_future(store.compact(now=Timestamp(0), retain=1))
        await asyncio.sleep(0.05)
        await store.box("t1", "b1")
        assert not compaction.done()
        other.execute("ROLLBACK")
    assert await compaction == 0
    await store.close()


async def test_a_reader_that_holds_up_checkpoints_holds_up_no_write(path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM boxes").fetchone()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(12):
            await store.apply(set_policy(policy=bytes(1_000_000)))
        assert loop.time() - began < BUSY_PATIENCE
        # Past 1000 pages each commit tries a checkpoint.
        assert path.with_name(path.name + "-wal").stat().st_size > 1000 * 4096
        other.execute("ROLLBACK")
    await store.close()


@pytest.fixture
async def damaged(path: Path) -> AsyncIterator[SqliteStore]:
    """A store that serves, and all but the first two pages of its file overwritten meanwhile."""
    store = await open_sqlite(path)
    for number in range(200):
        await store.apply(create(f"box-{number}"))
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(path)
    store._connection.execute("PRAGMA shrink_memory")
    yield store
    await store.close()


async def test_a_file_that_is_damaged_inside_is_refused_with_the_way_out(
    damaged: SqliteStore, path: Path
) -> None:
    await damaged.close()
    with pytest.raises(StoreUnusable, match="restore a backup"):
        await open_sqlite(path)
    with pytest.raises(StoreUnusable, match="restore a backup"):
        await open_sqlite(path)  # and not "another server": the first try gave up the lock


async def test_damage_that_is_met_while_serving_says_that_trying_again_does_not_help(
    damaged: SqliteStore,
) -> None:
    with pytest.raises(StoreBroken):
        await damaged.boxes("t1", BoxFilter(), after="", limit=500)
    with pytest.raises(StoreBroken):
        await damaged.apply(create("another"))
    with pytest.raises(StoreBroken):
        await damaged.compact(now=Timestamp(0), retain=1)
    with pytest.raises(StoreBroken):
        await scan_all(damaged)


async def scan_all(store: SqliteStore) -> None:
    async with store.scan("t1") as scan:
        async for _ in scan.pages():
            pass


async def test_a_damaged_file_is_not_backed_up(
    damaged: SqliteStore, path: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreUnusable, match="restore a backup"):
        await damaged.backup(tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == [path.parent]


async def test_a_file_that_became_read_only_fails_the_write_and_nothing_else(path: Path) -> None:
    store = await open_sqlite(path)
    await store.apply(create())
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreBroken):
        await store.apply(set_policy())
    assert (await store.box("t1", "b1")).box.policy_revision == 1
    store._connection.execute("PRAGMA query_only = OFF")
    await store.apply(set_policy())
    await store.close()


def damage(path: Path) -> None:
    """Overwrite all but the first two pages."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))
