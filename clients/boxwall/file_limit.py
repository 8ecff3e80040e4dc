"""How many files, connections among them, a process may have open."""

import resource


def raise_file_limit() -> None:
    """Take all that the system lets this process have.

    1,024 is usual, for the sake of programs that use `select`, which none of ours does.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def file_limit() -> int:
    """Return how many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
