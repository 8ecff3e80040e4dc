"""Counts what a program does, not how long it takes: the same on every machine, however busy."""

import sys
import sysconfig
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, Self

_ROOT: Final = str(Path(__file__).parents[2])
_COUNTED: Final = (
    f"{_ROOT}/clients/",
    f"{_ROOT}/server/",
    sysconfig.get_path("purelib"),
    "<string>",
)
"""Ours, libraries, and what `dataclasses` makes: the standard library differs between versions."""

_INLINED: Final = frozenset(("<listcomp>", "<dictcomp>", "<setcomp>"))
"""Are calls in some versions of Python, and none in others."""


class Calls:
    """Calls that this thread makes while the context lasts: of functions in Python, and from those
    of functions in C. Who waits and goes on counts again, with everybody who waits for it.

    `total` is all of them, `named` those of functions with these names.
    """

    def __init__(self, *names: str) -> None:
        self.total = 0
        self.named: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._is_counted: dict[CodeType, bool] = {}

    def __enter__(self) -> Self:
        assert sys.getprofile() is None, "something else is profiling"
        sys.setprofile(self._event)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "c_call"):
            return
        code = frame.f_code
        counted = self._is_counted.get(code)
        if counted is None:
            counted = self._is_counted[code] = code.co_filename.startswith(_COUNTED)
        if not counted or (event == "call" and code.co_name in _INLINED):
            return
        self.total += 1
        if event == "call" and code.co_name in self.named:
            self.named[code.co_name] += 1
