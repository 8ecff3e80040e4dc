"""Files that may change while the server runs: the last good content holds, and it says so."""

import asyncio
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

import structlog

from boxwall_server.config import BadConfig
from boxwall_server.metrics import Metrics

T = TypeVar("T")
Contents: TypeAlias = tuple[bytes, ...]

LOOK_EVERY: Final = 0.5
"""Seconds."""

MAX_FILE: Final = 4 * 1024 * 1024

_log = structlog.get_logger()


class BadFile(ValueError):
    """The content cannot be used; the text says why, and holds no secret."""


class NotYet(BadFile):
    """The content cannot be used now, and may be later, as it is."""


class Kept(Generic[T]):
    """A value read from files, as they last were good.

    Contents are compared, not times: it sees every change, also when a link is pointed elsewhere.
    A change counts once two looks have seen it alike: half of a file that is being written can look
    like a whole one.
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
        self._unusable: tuple[Contents | None, str] | None = None
        """What was complained of last, and why. None: what is there is in force."""
        try:
            self._in_force = self._latest = self._contents()
            self.value = self._made(self._in_force)
        except BadFile as exc:
            raise BadConfig(f"{', '.join(map(str, self._paths))}: {exc}") from exc
        self._stale.set(0)

    def look(self) -> bool:
        """Read the files again if they changed; return whether the value is another."""
        before, self._latest = self._latest, ()
        try:
            seen = self._latest = self._contents()
        except BadFile as exc:
            self._complain(None, str(exc))
            return False
        if seen == self._in_force:
            self._calm()
        elif seen == before and not self._is_hopeless(seen):
            return self._take(seen)
        return False

    def _take(self, seen: Contents) -> bool:
        try:
            self.value = self._made(seen)
        except NotYet as exc:
            self._complain(None, str(exc))
            return False
        except BadFile as exc:
            self._complain(seen, str(exc))
            return False
        self._in_force = seen
        self._calm()
        _log.info("file_reloaded", file=self._name)
        return True

    def _made(self, seen: Contents) -> T:
        try:
            return self._read(*seen)
        except BadFile:
            raise
        except Exception as exc:
            # Whatever else a reader trips over, the last good content holds. The text of the
            # error may show what is in the file.
            raise BadFile(f"it cannot be read ({type(exc).__name__})") from exc

    def _is_hopeless(self, seen: Contents) -> bool:
        """Return whether this content was found to be unusable, whatever the time."""
        return self._unusable is not None and self._unusable[0] == seen

    def _calm(self) -> None:
        self._unusable = None
        self._stale.set(0)

    def _complain(self, hopeless: Contents | None, why: str) -> None:
        """Say once for each content that it cannot be used. None: it may be good another time."""
        self._stale.set(1)
        if (hopeless, why) != self._unusable:
            self._unusable = hopeless, why
            paths = [str(path) for path in self._paths]
            _log.error("file_unusable", file=self._name, paths=paths, error=why, kept="last good")

    def _contents(self) -> Contents:
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
