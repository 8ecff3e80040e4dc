"""Files that may change while the server runs: the last good content holds, and it says so."""

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import structlog

from boxwall_server.config import BadConfig
from boxwall_server.metrics import Metrics

T = TypeVar("T")

LOOK_EVERY: Final = 1.0
"""Seconds."""

MAX_FILE: Final = 4 * 1024 * 1024

_log = structlog.get_logger()


class BadFile(ValueError):
    """The content cannot be used; the text says why, and holds no secret."""


class Kept(Generic[T]):
    """A value read from files, as they last were good.

    Contents are compared, not times: it sees every change, also when a link is pointed elsewhere.
    """

    def __init__(
        self, name: str, paths: Sequence[Path], read: Callable[..., T], metrics: Metrics
    ) -> None:
        """`read` makes the value of the contents, one argument for each path, or raises BadFile.

        Raises BadConfig if it cannot be made now.
        """
        self._name = name
        self._paths = tuple(paths)
        self._read = read
        self._stale = metrics.stale_files.labels(name)
        self._seen: tuple[bytes, ...] | str = ()
        try:
            self._seen = self._contents()
            self.value = self._made(self._seen)
        except BadFile as exc:
            raise BadConfig(f"{', '.join(map(str, self._paths))}: {exc}") from exc
        self._stale.set(0)

    def look(self) -> bool:
        """Read the files again if they changed; return whether the value is another."""
        try:
            seen = self._contents()
        except BadFile as exc:
            self._complain(str(exc), str(exc))
            return False
        if seen == self._seen:
            return False
        try:
            self.value = self._made(seen)
        except BadFile as exc:
            self._complain(seen, str(exc))
            return False
        self._seen = seen
        self._stale.set(0)
        _log.info("file_reloaded", file=self._name)
        return True

    def _made(self, seen: tuple[bytes, ...]) -> T:
        try:
            return self._read(*seen)
        except BadFile:
            raise
        except Exception as exc:
            # Whatever else a reader trips over, the last good content holds. The text of the
            # error may show what is in the file.
            raise BadFile(f"it cannot be read ({type(exc).__name__})") from exc

    def _complain(self, seen: tuple[bytes, ...] | str, why: str) -> None:
        """Say once for each content that it cannot be used."""
        self._stale.set(1)
        if seen != self._seen:
            self._seen = seen
            paths = [str(path) for path in self._paths]
            _log.error("file_unusable", file=self._name, paths=paths, error=why, kept="last good")

    def _contents(self) -> tuple[bytes, ...]:
        return tuple(_content(path) for path in self._paths)


async def keep_looking(files: Sequence[tuple[Kept[Any], Callable[[], None]]]) -> None:
    """Look at files until cancelled; call what belongs to one after it changed."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        for kept, changed in files:
            if await asyncio.to_thread(kept.look):
                changed()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(MAX_FILE + 1)
    except OSError as exc:
        raise BadFile(f"{path} cannot be read: {exc.strerror}") from exc
    if mode & stat.S_IWOTH:
        raise BadFile(f"{path} can be written by anyone; take that away with chmod o-w")
    if len(content) > MAX_FILE:
        raise BadFile(f"{path} is larger than {MAX_FILE} bytes")
    return content
