"""Files that others read while they are replaced: written at once or not at all, and durably."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file in one step: whoever looks meanwhile sees it before or after. Raises OSError.

    A new file has `mode`. One that is there keeps its owner and its group, and what its mode gives
    to them; others get what `mode` gives to them and the old one gave. A link is followed.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name}.new")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
            if target.exists():
                there = target.stat()
                mode = there.st_mode & (0o770 | mode)
                os.fchown(new.fileno(), there.st_uid, there.st_gid)
            os.fchmod(new.fileno(), mode)
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    with _opened(target.parent) as folder:
        os.fsync(folder)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Let nobody else who asks this change a file, from reading it to writing it. Raises OSError.

    It is the folder that is locked: the file is another one after each change.
    """
    with _opened(path.resolve().parent) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
