"""A netlink socket whose other end is a test."""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar

import pytest

from boxwall_agent.netlink import Flags, message

PORT = 4242
DONE, ERROR = 3, 2
INTERRUPTED = 0x10

Made = TypeVar("Made")

Answer: TypeAlias = bytes | int
"""A datagram, or the errno of what receiving ends in."""


class FakeNetlink:
    """Gives one answer each time it is asked, then has none.

    `reply`: what is there to be read after each thing that is sent.
    """

    def __init__(
        self,
        answers: Iterable[Answer] = (),
        *,
        reply: Callable[[bytes], Iterable[Answer]] = lambda sent: (),
    ) -> None:
        self.answers = list(answers)
        self.reply = reply
        self.sent: list[bytes] = []
        self.send_fails = 0
        self.option_fails = 0
        self.is_closed = False
        self.is_blocking = True
        self._wakes: tuple[socket.socket, socket.socket] | None = None

    def send(self, data: bytes) -> int:
        """Take it, or fail."""
        if self.send_fails:
            raise OSError(self.send_fails, os.strerror(self.send_fails))
        self.sent.append(data)
        self.answers += self.reply(data)
        return len(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next answer; EAGAIN when there is none."""
        answer = self.answers.pop(0) if self.answers else errno.EAGAIN
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer))
        assert len(answer) <= size
        return answer

    def setsockopt(self, *_: object) -> None:
        """Take it, or fail."""
        if self.option_fails:
            raise OSError(self.option_fails, os.strerror(self.option_fails))

    def bind(self, address: object) -> None:
        """As it is."""

    def getsockname(self) -> tuple[int, int]:
        """Our port id."""
        return PORT, 0

    def fileno(self) -> int:
        """Always readable, for an event loop."""
        if self._wakes is None:
            self._wakes = socket.socketpair()
            self._wakes[1].send(b"!")
        return self._wakes[0].fileno()

    def settimeout(self, seconds: float) -> None:
        """As it is: there is nothing to wait for."""

    def setblocking(self, is_blocking: bool) -> None:
        """Remember."""
        self.is_blocking = is_blocking

    def close(self) -> None:
        """Remember."""
        self.is_closed = True
        for one in self._wakes or ():
            one.close()

    def __enter__(self) -> "FakeNetlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def put_in_place(monkeypatch: pytest.MonkeyPatch, *answers: Answer) -> FakeNetlink:
    """The next sockets that are made are this one."""
    fake = FakeNetlink(answers)
    monkeypatch.setattr("socket.socket", lambda *_, **__: fake)
    return fake


def made_with(fake: FakeNetlink, make: Callable[[], Made]) -> Made:
    """What `make` makes, with this socket; other sockets, as those of event loops, are real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket", lambda *_, **__: fake)
        return make()


def acknowledgement(sequence: int, number: int = 0) -> bytes:
    """NLMSG_ERROR: the negative errno, and the header of what it is about."""
    about = struct.pack("=IHHII", 20, 0, 0, sequence, PORT)
    return struct.pack("=IHHIIi", 36, ERROR, 0, sequence, PORT, -number) + about


def listed(kind: int, sequence: int, attributes: bytes, flags: int = 2) -> bytes:
    """One message of a list, or an answer of its own."""
    return message(kind, Flags(flags), sequence, attributes, family=1)


def done(sequence: int, flags: int = 2, number: int = 0) -> bytes:
    """The end of a list."""
    return struct.pack("=IHHIIi", 20, DONE, flags, sequence, PORT, -number)
