"""Make the attempts, step by step as standard input says; say of each when it is done."""

import errno
import json
import socket
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from attempts.catalogue import Attempt, Surroundings, mark_of
from attempts.everything import CATALOGUE

_AT_ONCE: Final = 16
_REFUSED: Final = frozenset(
    (
        *(errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH),
        *(errno.ETIMEDOUT, errno.EACCES, errno.EPIPE, errno.ENOTCONN, errno.ECONNABORTED),
    )
)
"""What sockets say when something is in the way; any other error is a mistake of the attempt."""


class Program:
    """The attempts of some kinds, from the first step to the last."""

    def __init__(self, surroundings: Surroundings, base: int, chosen: list[int]) -> None:
        self._surroundings = surroundings
        self._chosen = [(base + number, CATALOGUE.attempts[number]) for number in chosen]
        self._begun: dict[int, Generator[None]] = {}
        self._problems: dict[int, str] = {}
        self._output = threading.Lock()

    def step(self, name: str) -> None:
        """Do what begins at this step; `run`: everything."""
        if name == "run":
            for title in ("before", "", "after"):
                self._run([it for it in self._chosen if _is_control(it[1], title)])
        else:
            self._together(
                [(number, one) for number, one in self._chosen if one.begins == name], self._begin
            )
        self._say({"done": name})

    def _run(self, chosen: list[tuple[int, Attempt]]) -> None:
        self._together([it for it in chosen if not it[1].is_alone], self._finish)
        for number, one in chosen:
            if one.is_alone:
                self._finish(number, one)

    def _together(
        self, chosen: list[tuple[int, Attempt]], do: Callable[[int, Attempt], None]
    ) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda it: do(*it), chosen))

    def _begin(self, number: int, one: Attempt) -> None:
        self._guard(number, lambda: self._start(number, one))

    def _finish(self, number: int, one: Attempt) -> None:
        if one.begins:
            going = self._begun.pop(number, None)
            if going is not None:
                self._guard(number, lambda: next(going, None))
        else:
            self._guard(number, lambda: self._start(number, one))
        problem = self._problems.get(number, "")
        self._say({"attempt": number, "mark": mark_of(number), "problem": problem})

    def _start(self, number: int, one: Attempt) -> None:
        place = self._surroundings.of(one.version)
        going = one.run(place, mark_of(number), *one.values)
        if going is not None:
            next(going)
            self._begun[number] = going

    def _guard(self, number: int, do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as exc:  # noqa: BLE001  # the others are made all the same
            if not is_refusal(exc):
                self._problems[number] = f"{type(exc).__name__}: {exc}"

    def _say(self, what: dict[str, object]) -> None:
        with self._output:
            sys.stdout.write(json.dumps(what) + "\n")
            sys.stdout.flush()


def is_refusal(exc: Exception) -> bool:
    """Whether the network, and not the attempt itself, is why it ended."""
    if isinstance(exc, TimeoutError | socket.gaierror):
        return True
    return isinstance(exc, OSError) and exc.errno in _REFUSED


def _is_control(one: Attempt, when: str) -> bool:
    if one.kind != "control":
        return not when
    return bool(when) and when in one.title


def main() -> None:
    """Arguments: the surroundings as JSON, the first mark's number, places in the catalogue."""
    program = Program(
        Surroundings.read(sys.argv[1]), int(sys.argv[2]), [int(one) for one in sys.argv[3:]]
    )
    for line in sys.stdin:
        program.step(line.strip())


if __name__ == "__main__":
    main()
