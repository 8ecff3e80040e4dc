"""Where a PostgreSQL store is. Its text may hold a password, so it is shown without."""

from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES: Final = ("postgresql", "postgres")
_UNREADABLE: Final = (
    "the URL of the store cannot be read; it is postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
    "with %XX for characters of the password that are not letters or digits"
)


class BadUrl(ValueError):
    """The text is not the URL of a database. Says nothing of what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrl:
    """A database, and how to log in. `text` is for the driver alone."""

    text: str = field(repr=False)
    shown: str
    """Without the password: for people."""
    several_hosts: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the URL. Raises BadUrl."""
        try:
            parts = urlsplit(text)
        except ValueError:
            raise BadUrl(_UNREADABLE) from None
        login, _, hosts = parts.netloc.rpartition("@")
        # An unquoted / ? or # in a password ends the part that it stands in, and the rest of the
        # password would be shown as a name: an @ after it tells.
        if "@" in parts.path + parts.query or parts.fragment or parts.scheme not in _SCHEMES:
            raise BadUrl(_UNREADABLE)
        if not all(_is_host(host) for host in hosts.split(",")):
            raise BadUrl(_UNREADABLE)
        keys = {key for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if "password" in keys:
            raise BadUrl("the password belongs before the host: postgresql://USER:PASSWORD@HOST")
        user = login.partition(":")[0]
        shown = f"postgresql://{unquote(user) + '@' if user else ''}{hosts}{parts.path}"
        return cls(text=text, shown=shown, several_hosts="," in hosts)

    def __str__(self) -> str:
        return self.shown


def _is_host(text: str) -> bool:
    host, bracket, port = text.rpartition("]")
    if not bracket:
        host, _, port = text.partition(":")
    else:
        port = port.removeprefix(":")
    return not port or (bool(host) and port.isascii() and port.isdecimal())
