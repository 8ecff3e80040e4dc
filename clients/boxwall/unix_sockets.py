"""What a path must be, so that a unix socket can have it."""

import os
from typing import Final

LONGEST_PATH: Final = 107
"""Octets (unix(7): 108 with the NUL at the end)."""


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
