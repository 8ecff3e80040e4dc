"""The file of a SQLite store: opening, refusing, migrating, locking, copying."""

import fcntl
import os
import secrets
import sqlite3
from contextlib import ExitStack, closing
from importlib import resources
from pathlib import Path
from typing import IO, Final

from boxwall_server.store.errors import StoreUnavailable, StoreUnusable
from boxwall_server.store.sqlite_errors import is_damage, unusable

APPLICATION_ID: Final = 0x426F7857
"""In the header of every file of ours ("BoxW"), so that we never write into another program's."""

BUSY_PATIENCE: Final = 5.0
"""Seconds to wait for a backup that holds the file for a moment."""


def open_file(path: Path) -> sqlite3.Connection:
    """Return the writing connection to a store, made or migrated as needed.

    Raises StoreUnusable, having changed nothing, for a file that is not ours, damaged, or newer.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as exc:
        raise StoreUnusable(
            f"cannot open {path}: {exc.strerror}; choose another place with --store sqlite:PATH"
        ) from exc
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreUnusable(f"{path} cannot be read and written by this user; mend its permissions")
    try:
        with ExitStack() as undo:
            connection = undo.enter_context(closing(connect(path)))
            _check_is_ours(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            _migrate(connection, path)
            undo.pop_all()
    except sqlite3.Error as exc:
        raise unusable(path, exc) from exc
    return connection


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection in autocommit mode: transactions are begun by hand."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_PATIENCE
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -65536")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def lock_file(path: Path) -> IO[bytes]:
    """Return the open lock of a store: closing it, however the process ends, gives it up."""
    beside = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.fdopen(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")
    except OSError as exc:
        raise StoreUnusable(
            f"cannot make {beside}: {exc.strerror}; choose another place with --store sqlite:PATH"
        ) from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        handle.close()
        raise StoreUnusable(
            f"another server is using {path}; stop it, or choose another file with "
            "--store sqlite:PATH"
        ) from exc
    return handle


def backup_file(source: Path, target: Path) -> None:
    """Write a consistent copy, of another epoch, durably. A server may be using the source.

    Raises FileExistsError, StoreUnusable, StoreUnavailable, having left no target behind.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists; a backup never overwrites: name another file")
    if not source.exists():
        raise StoreUnusable(f"there is no store at {source}")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with closing(connect(source, read_only=True)) as connection:
            _check_is_ours(connection, source)
            connection.execute("PRAGMA query_only = OFF")  # VACUUM INTO counts as a write
            connection.execute("VACUUM INTO ?", (str(partial),))
        partial.chmod(0o600)
        with closing(connect(partial)) as copy:
            set_epoch(copy)
        _sync(partial)
        os.link(partial, target)  # fails, rather than overwrites, if the target appeared meanwhile
        _sync(target.parent)
    except sqlite3.Error as exc:
        if is_damage(exc):
            raise unusable(source, exc) from exc
        raise StoreUnavailable(f"cannot copy {source} to {target}: {exc}") from exc
    finally:
        partial.unlink(missing_ok=True)


def set_epoch(connection: sqlite3.Connection) -> None:
    """Begin another history."""
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES ('epoch', ?)", (secrets.token_bytes(16),)
    )


def _check_is_ours(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreUnusable(
            f"{path} is a database of another program; "
            "choose another place with --store sqlite:PATH"
        )
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    newest = len(_migrations())
    if version > newest:
        raise StoreUnusable(
            f"{path} was written by a newer version of Boxwall (schema {version}; this one knows "
            f"up to {newest}); upgrade Boxwall, or restore a backup from before"
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, each step in a transaction of its own."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(_migrations(), start=1):
        if number <= version:
            continue
        begin = "BEGIN IMMEDIATE;"
        if number == 1:
            begin = f"PRAGMA application_id = {APPLICATION_ID}; {begin}"
        try:
            connection.executescript(f"{begin} {script}; PRAGMA user_version = {number};")
            if number == 1:
                set_epoch(connection)
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _migrations() -> list[str]:
    """Return the scripts in order: the first makes version 1."""
    folder = resources.files("boxwall_server.store") / "schema"
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return [script.read_text(encoding="utf-8") for script in scripts]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
