"""Which name does a TLS ClientHello carry? Pure, and total: any bytes have an answer.

RFC 8446 section 4.1.2 and RFC 6066 section 3. Strict where servers could read it otherwise: two
names, two extensions of a kind, and lengths that do not add up are no ClientHello.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from boxwall.policy import EntryError, Name

LONGEST: Final = 16384
"""Octets in which a ClientHello has to be over."""

MOST_RECORDS: Final = 64
MOST_EXTENSIONS: Final = 64
"""Clients use a few of the first and two dozen of the second. A hello is read from its beginning
with every segment, so what one reading costs is bounded: others wait meanwhile.
"""

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0


@dataclass(frozen=True, slots=True)
class More:
    """What is there is good so far, and not all."""

    name: Name | None = None
    is_servers_turn: bool = False
    """Whether the client waits for an answer before it goes on."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A whole ClientHello. `name` None: it carries none. `size`: octets, with record heads."""

    name: Name | None
    size: int


@dataclass(frozen=True, slots=True)
class Broken:
    """It is none."""

    why: str


class _Bad(Exception):
    """Carries what is wrong."""


class _Short(Exception):
    """The message goes on behind what is there."""


@dataclass(slots=True)
class _Found:
    """What was read before the bytes ran out."""

    name: Name | None = None


def read_hello(data: bytes) -> More | Hello | Broken:
    """Read what a client has sent so far, from the first TLS record on."""
    found = _Found()
    try:
        body, size = _joined_records(data)
        _read_body(_Fields(body, is_whole=size > 0), found)
    except _Short:
        return Broken("it does not end") if len(data) >= LONGEST else More(found.name)
    except _Bad as exc:
        return Broken(str(exc))
    return Hello(found.name, size)


def _joined_records(data: bytes) -> tuple[bytes, int]:
    """The body of the first handshake message, whatever records it is spread over, and where they
    end; 0: it is not all there. Nothing may follow it in its record: that would not be read.
    """
    message = b""
    at = 0
    for _ in range(MOST_RECORDS):
        head = data[at : at + 5]
        _check_record(head)
        if len(head) < 5:
            break
        size = int.from_bytes(head[3:5], "big")
        if not 0 < size <= LONGEST:
            raise _Bad("a record has an impossible length")
        message += data[at + 5 : at + 5 + size]
        _check_message(message)
        if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4], "big"):
            end = 4 + int.from_bytes(message[1:4], "big")
            if len(message) > end or at + 5 + size > len(data):
                raise _Bad("another message shares its record")
            return message[4:end], at + 5 + size
        at += 5 + size
        if at > len(data):
            break
    else:
        raise _Bad("it is in too many records")
    return message[4:], 0


def _check_record(head: bytes) -> None:
    if head and head[0] != _HANDSHAKE:
        raise _Bad("a record is no handshake")
    if len(head) > 1 and head[1] != 3:
        raise _Bad("a record has an unknown version")


def _check_message(message: bytes) -> None:
    if message and message[0] != _CLIENT_HELLO:
        raise _Bad("the first message is no ClientHello")
    if len(message) >= 4 and int.from_bytes(message[1:4], "big") > LONGEST:
        raise _Bad("it is too long")


def _read_body(fields: "_Fields", found: _Found) -> None:
    fields.take(2 + 32)  # version, random
    fields.vector(1)  # session id
    if len(fields.vector(2)) % 2:
        raise _Bad("its cipher suites are cut")
    fields.vector(1)  # compression methods
    if fields.is_over:
        return
    fields.must_be_left(fields.number(2))
    seen: set[int] = set()
    while not fields.is_over:
        kind = fields.number(2)
        value = fields.vector(2)
        if kind in seen:
            raise _Bad("an extension comes twice")
        if len(seen) == MOST_EXTENSIONS:
            raise _Bad("it has too many extensions")
        seen.add(kind)
        if kind == _SERVER_NAME:
            found.name = _server_name(value)


def _server_name(value: bytes) -> Name:
    outer = _Fields(value)
    names = _Fields(outer.vector(2))
    outer.must_be_over()
    kind, name = names.number(1), names.vector(2)
    names.must_be_over()
    if kind != _HOST_NAME:
        raise _Bad("its name is of an unknown kind")
    try:
        return Name.parse(name.decode("ascii"))
    except UnicodeDecodeError:
        raise _Bad("its name is not ASCII") from None
    except EntryError as exc:
        raise _Bad(f"its name: {exc}") from None


class _Fields:
    """Reads one after the other. What is not there is an error, unless it may come yet."""

    def __init__(self, data: bytes, *, is_whole: bool = True) -> None:
        self._data = data
        self._at = 0
        self._is_whole = is_whole

    @property
    def is_over(self) -> bool:
        return self._is_whole and self._at == len(self._data)

    def must_be_left(self, size: int) -> None:
        if self._is_whole and len(self._data) - self._at != size:
            raise _Bad("its extensions do not end where it ends")

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size and not self._is_whole:
            raise _Short
        if len(taken) < size:
            raise _Bad("a field is longer than what it is in")
        self._at += size
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def vector(self, octets: int) -> bytes:
        return self.take(self.number(octets))

    def must_be_over(self) -> None:
        if not self.is_over:
            raise _Bad("something is left behind a field")


Read: TypeAlias = More | Hello | Broken
