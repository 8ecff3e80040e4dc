"""What a path must be, so that a unix socket can have it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

LONGEST_PATH: Final = 107
"""Octets (unix(7): 108 with the NUL at the end)."""


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """Let sockets that are bound meanwhile be their owner's alone (mode 0600) from the first
    moment: one whose mode is changed later could have been connected to by anybody before.

    What other threads create meanwhile is its owner's alone too.
    """
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def path_problem(path: str | os.PathLike[str]) -> str | None:
    """Say why no unix socket can have this path, with the way out; None: one can."""
    octets = os.fsencode(path)
    if not octets or b"\0" in octets:
        return "a unix socket needs a path, such as /run/boxwall/server.sock"
    if len(octets) > LONGEST_PATH:
        return (
            f"{os.fspath(path)} has {len(octets)} octets, and the path of a unix socket at most "
            f"{LONGEST_PATH}; choose a shorter one"
        )
    return None
