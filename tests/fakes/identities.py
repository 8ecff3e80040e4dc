"""Tokens for tests, and stubs that send them."""

import functools
from pathlib import Path
from typing import Any

from boxwall_server.identity.tokens import token_digest

NEVER = '"never"'


def token_entry(
    token: str,
    *scopes: str,
    name: str = "",
    tenant: str = "default",
    expires: str = NEVER,
    node: str = "",
) -> str:
    """The entry of a token in the file."""
    lines = [
        "[[tokens]]",
        f'name = "{name or token}"',
        f'sha256 = "{token_digest(token)}"',
        f'tenant = "{tenant}"',
        f"scopes = {list(scopes)}",
        f"expires = {expires}",
        f'node = "{node}"' if node else "",
    ]
    return "\n".join(lines) + "\n"


def write_tokens(path: Path, *entries: str, revoked: tuple[str, ...] = ()) -> Path:
    """Write the file in one step, as operators should."""
    head = f"revoked_certificates = {list(revoked)}\n" + ("" if entries else "tokens = []\n")
    beside = path.with_suffix(".new")
    beside.write_text(head + "\n".join(entries))
    return beside.rename(path)


class Sending:
    """A stub whose calls carry metadata."""

    def __init__(self, stub: Any, *metadata: tuple[str, str]) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Any:
        return functools.partial(getattr(self._stub, method), metadata=self._metadata)


def bearing(stub: Any, token: str, *more: tuple[str, str]) -> Any:
    """A stub whose calls carry a token."""
    return Sending(stub, ("authorization", f"Bearer {token}"), *more)
