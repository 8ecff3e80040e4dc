"""What errors of SQLite mean to the callers of a store, and to an operator."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxwall_server.store.errors import (
    DiskFull,
    StoreBroken,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
)


def is_busy(exc: sqlite3.Error) -> bool:
    """Whether another process holds the file, so that the same may work in a moment."""
    return _name(exc).startswith("SQLITE_BUSY")


def is_damage(exc: sqlite3.Error) -> bool:
    """Whether the file does not hold what a database holds."""
    return _name(exc).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


@contextmanager
def translating() -> Iterator[None]:
    """Raise StoreError instead of sqlite3.Error."""
    try:
        yield
    except sqlite3.Error as exc:
        raise translated(exc) from exc


def translated(exc: sqlite3.Error) -> StoreError:
    """Return what an error while serving means."""
    if _name(exc) == "SQLITE_FULL":
        return DiskFull(str(exc))
    if is_damage(exc) or _is_read_only(exc):
        return StoreBroken(str(exc))
    return StoreUnavailable(str(exc))


def unusable(path: Path, exc: sqlite3.Error) -> StoreUnusable:
    """Return what an operator can do about an error while opening."""
    if is_damage(exc):
        return StoreUnusable(
            f"{path} is not a database, or is damaged ({exc}); "
            "restore a backup, or choose another place with --store sqlite:PATH"
        )
    if _is_read_only(exc):
        return StoreUnusable(f"{path} is read-only ({exc}); mend its permissions")
    if _name(exc) == "SQLITE_FULL":
        return StoreUnusable(f"there is no room to open {path}; make room and start again")
    if is_busy(exc):
        return StoreUnusable(f"another program holds {path} ({exc}); end it, and start again")
    return StoreUnusable(f"cannot open {path}: {exc}")


def _is_read_only(exc: sqlite3.Error) -> bool:
    return _name(exc).startswith("SQLITE_READONLY")


def _name(exc: sqlite3.Error) -> str:
    """The extended result code. Errors that the Python module itself raises have none."""
    return getattr(exc, "sqlite_errorname", "")
