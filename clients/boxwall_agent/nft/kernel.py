"""The socket to nf_tables: transactions go out, what the kernel holds comes back.

A transaction is over when `send` returns: netlink works in the sender's context, so the answer is
there to be read without waiting. An update of one box takes about a tenth of a millisecond, and is
made on the event loop. Not safe for several threads.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from boxwall_agent.errors import KernelError, KernelRejected, KernelUnsure, KernelUnusable
from boxwall_agent.netlink import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Flags,
    Message,
    attribute,
    iterate_attributes,
    message,
    nested,
    read_attributes,
    read_be32,
    read_messages,
    text,
)
from boxwall_agent.nft.batch import INET, OUR_MARK, SUBSYSTEM, Batch, TableFlags, Type
from boxwall_agent.nft.objects import TABLE, Element

NETLINK_NETFILTER: Final = 12
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
BUFFER_BYTES: Final = 64 << 20
"""A transaction of 10,000 boxes is one message of some megabytes."""

_RECEIVE_BYTES: Final = 1 << 18
_NO_NETLINK: Final = (
    "netlink to netfilter cannot be used ({}); load the modules nfnetlink and nf_tables"
)
_TRIES: Final = 5
"""To read what others are changing."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The state of all tables of the namespace: it grows by one with every transaction."""

    number: int
    process: int
    """Who made the last transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTable:
    """A table called like ours."""

    flags: TableFlags
    is_ours: bool
    """Whether Boxwall made it."""
    owner: int | None
    """Port id of the socket that owns it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How often an element was hit."""

    packets: int
    octets: int


class Nftables:
    """One socket: the owner of the table where the kernel knows owners. Close it when done."""

    def __init__(self) -> None:
        """Raises KernelUnusable."""
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
            )
        except OSError as exc:
            raise KernelUnusable(_NO_NETLINK.format(exc.strerror)) from exc
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            # Refused without CAP_NET_ADMIN, which the first transaction will tell better.
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._socket.bind((0, 0))
        self._sequence = 1

    @property
    def port(self) -> int:
        """Netlink port id of the socket: what notifications name as the author."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        """Close. A persistent table stays, and so do its rules."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def commit(self, batch: Batch, *, generation: int | None = None) -> None:
        """Put all of `batch` in force at one instant.

        Raises KernelRejected (nothing changed; errno ERESTART if `generation` is not the current
        one any more) or KernelUnsure.
        """
        if not batch:
            return
        encoded = batch.encode(self._take(len(batch) + 2), generation=generation)
        first, last = encoded.first, encoded.last
        self._send(encoded.data)
        failure: Message | None = None
        while True:
            for answer in self._receive():
                if answer.kind != NLMSG_ERROR or not first <= answer.sequence <= last:
                    continue  # what an earlier transaction was told, whose answer was lost
                if answer.error and failure is None:
                    failure = answer
                if answer.sequence in (first, last):
                    if failure is not None:
                        step = batch.describe(failure.sequence, encoded)
                        raise KernelRejected(failure.error, step, os.strerror(failure.error))
                    return

    def generation(self) -> Generation:
        """Return the current generation."""
        (answer,) = self._ask(Type.GETGEN, Flags(0), b"")
        found = read_attributes(answer.body)
        return Generation(read_be32(found[1]), read_be32(found[2]))

    def table(self, family: int = INET) -> FoundTable | None:
        """Return the table called like ours, or None if there is none."""
        try:
            (answer,) = self._ask(Type.GETTABLE, Flags(0), text(1, TABLE), family)
        except KernelRejected as exc:
            if exc.errno == errno.ENOENT:
                return None
            raise
        found = read_attributes(answer.body)
        return FoundTable(
            flags=TableFlags(read_be32(found[2])),
            is_ours=found.get(6) == OUR_MARK,
            owner=read_be32(found[7]) if 7 in found else None,
        )

    def set_names(self) -> list[str]:
        """Return the names of the table's sets and maps."""
        answers = self._ask(Type.GETSET, Flags.DUMP, text(1, TABLE))
        return [read_attributes(answer.body)[2].rstrip(b"\0").decode() for answer in answers]

    def rule_count(self) -> int:
        """Return how many rules the table has."""
        return len(self._ask(Type.GETRULE, Flags.DUMP, text(1, TABLE)))

    def elements(self, name: str) -> Iterator[Element]:
        """Yield the elements of a set; of a range its two ends."""
        for key, found in self._dump_elements(name):
            yield Element(name, key, _value_of(found))

    def find(self, name: str, key: bytes) -> bytes | None:
        """Look a key up, as a rule would: the value of its element, empty in a set; None: no match.

        In a set of ranges the key may be anywhere in one.
        """
        found = self._find_element(name, key)
        return None if found is None else _value_of(found)

    def counters(self, name: str, keys: Iterable[bytes] | None = None) -> dict[bytes, Counted]:
        """Return what the elements of a set of counters have counted, by key. `keys`: of these."""
        found: Iterable[tuple[bytes, dict[int, bytes] | None]] = (
            self._dump_elements(name)
            if keys is None
            else ((key, self._find_element(name, key)) for key in keys)
        )
        return {key: _counter(element[7]) for key, element in found if element and 7 in element}

    def _dump_elements(self, name: str) -> Iterator[tuple[bytes, dict[int, bytes]]]:
        for answer in self._ask(Type.GETSETELEM, Flags.DUMP, text(1, TABLE) + text(2, name)):
            for _, element in _elements_of(answer):
                found = read_attributes(element)
                yield read_attributes(found[1])[1], found

    def _find_element(self, name: str, key: bytes) -> dict[int, bytes] | None:
        element = nested(3, nested(1, nested(1, attribute(1, key))))
        asked = text(1, TABLE) + text(2, name) + element
        try:
            (answer,) = self._ask(Type.GETSETELEM, Flags(0), asked)
        except KernelRejected as exc:
            if exc.errno == errno.ENOENT:
                return None
            raise
        (found,) = (read_attributes(one) for _, one in _elements_of(answer))
        return found

    def _ask(
        self, kind: Type, flags: Flags, attributes: bytes, family: int = INET
    ) -> list[Message]:
        for _ in range(_TRIES):
            answers = self._ask_once(kind, flags, attributes, family)
            if answers is not None:
                return answers
        raise KernelUnsure(f"{kind.name}: the table changes faster than it can be read")

    def _ask_once(
        self, kind: Type, flags: Flags, attributes: bytes, family: int
    ) -> list[Message] | None:
        """None: it changed while it was read."""
        sequence = self._take(1)
        wanted = SUBSYSTEM << 8 | kind
        self._send(message(wanted, flags, sequence, attributes, family=family))
        answers: list[Message] = []
        is_interrupted = False
        while True:
            for answer in self._receive():
                if answer.sequence != sequence:
                    continue
                is_interrupted = is_interrupted or answer.is_interrupted
                if answer.kind in (NLMSG_ERROR, NLMSG_DONE):
                    if answer.error == errno.EINTR:
                        return None
                    if answer.error:
                        reason = os.strerror(answer.error)
                        raise KernelRejected(answer.error, kind.name, reason)
                    return None if is_interrupted else answers
                answers.append(answer)
            if answers and not flags:
                return answers

    def _take(self, count: int) -> int:
        first = self._sequence
        self._sequence = (first + count) & 0x7FFFFFFF or 1
        return first

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as exc:
            if exc.errno == errno.EMSGSIZE:
                raise KernelRejected(exc.errno, "the transaction", "it is too large") from exc
            raise KernelUnsure(f"sending to the kernel failed: {exc.strerror}") from exc

    def _receive(self) -> list[Message]:
        try:
            return list(read_messages(self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)))
        except InterruptedError:
            return []
        except BlockingIOError as exc:
            raise KernelUnsure("the kernel's answer did not come") from exc
        except OSError as exc:
            self._discard()
            raise KernelUnsure(f"the kernel's answer was lost: {exc.strerror}") from exc

    def _discard(self) -> None:
        """Read what is left of answers: while the socket is full, the next are lost as well."""
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)


def open_nftables() -> Nftables:
    """Return a socket that nf_tables answers on. Raises KernelUnusable with the reason."""
    nftables = Nftables()
    try:
        nftables.generation()
    except KernelError as exc:
        nftables.close()
        raise KernelUnusable(_advice(exc)) from exc
    return nftables


def _advice(exc: KernelError) -> str:
    number = exc.errno if isinstance(exc, KernelRejected) else 0
    if number in (errno.EPERM, errno.EACCES):
        return "nf_tables needs root, or CAP_NET_ADMIN and CAP_NET_RAW"
    if number in (errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT):
        return "the kernel has no nf_tables; load the module nf_tables"
    return f"nf_tables does not answer: {exc}"


def _elements_of(answer: Message) -> Iterator[tuple[int, bytes]]:
    """Of NFTA_SET_ELEM_LIST_ELEMENTS."""
    return iterate_attributes(read_attributes(answer.body).get(3, b""))


def _value_of(element: dict[int, bytes]) -> bytes:
    """Of NFTA_SET_ELEM_DATA; empty in a set."""
    return read_attributes(element[2])[1] if 2 in element else b""


def _counter(expression: bytes) -> Counted:
    """Of NFTA_SET_ELEM_EXPR."""
    body = read_attributes(read_attributes(expression)[2])
    octets, packets = (int.from_bytes(body[number], "big") for number in (1, 2))
    return Counted(packets, octets)
