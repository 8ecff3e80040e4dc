"""The actor of a box that asks for names: one after the other, or as many as are answered."""

import asyncio
import re
import resource
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from bench.figures import quantile, thinned
from bench.paths import Place

OUTSTANDING: Final = 50
"""Questions that dnsperf has under way: fewer than a box may have."""

PATIENCE: Final = 5.0
_HEAD: Final = struct.Struct(">HHHHHH")
_TAIL: Final = b"\0\0\1\0\1"
"""The end of the name; A, IN."""

_ID: Final = 0x5A5A
_COMPLETED: Final = re.compile(r"Queries completed:\s+(\d+) \(100\.00%\)")
_CODES: Final = re.compile(r"(NOERROR|NXDOMAIN|REFUSED|SERVFAIL) \d+")
_SECONDS: Final = re.compile(r"Run time \(s\):\s+([\d.]+)")


class Asker(Place):
    """Each method says which codes it was answered with, so that nobody is fast by refusing."""

    async def ready_to_ask(self, server: str, port: int, name: str) -> None:
        """Wait until a server answers."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                _ask(server, port, [name], patience=0.2)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return
        raise TimeoutError(f"{server}:{port} does not answer")

    async def ask(self, server: str, port: int, names: list[str]) -> dict[str, Any]:
        """Ask one after the other; return seconds, and the codes of the answers."""
        return _ask(server, port, names, PATIENCE)

    async def flood(
        self, server: str, port: int, names: list[str], seconds: float, folder: str
    ) -> dict[str, Any]:
        """Ask with dnsperf, round and round; return how much was answered in how long, which
        codes, and the processor time that asking took.
        """
        asked = Path(folder) / "questions"
        asked.write_text("".join(f"{name} A\n" for name in names))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        argv = ["dnsperf", "-s", server, "-p", str(port), "-d", str(asked), "-c", "4", "-T", "1"]
        argv += ["-q", str(OUTSTANDING), "-l", f"{seconds:g}"]
        program = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        output, _ = await program.communicate()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        text = output.decode()
        completed, spent = _COMPLETED.search(text), _SECONDS.search(text)
        if completed is None or spent is None:
            raise ValueError(f"dnsperf says: {text[-800:]}")
        used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
        return {
            "answered": int(completed.group(1)),
            "seconds": float(spent.group(1)),
            "codes": sorted(set(_CODES.findall(text))),
            "used": used,
        }


def _ask(server: str, port: int, names: Sequence[str], patience: float) -> dict[str, Any]:
    took, codes = [], set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(patience)
        wire.connect((server, port))
        for query in _queries(names):
            begin = time.perf_counter()
            wire.send(query)
            answer = wire.recv(4096)
            took.append(time.perf_counter() - begin)
            number, flags, _, answers, *_ = _HEAD.unpack_from(answer)
            if number != _ID:
                raise ValueError("an answer to another question")
            codes.add(_code(flags & 0xF, answers))
    return {
        "p50": quantile(took, 0.5),
        "p99": quantile(took, 0.99),
        "sample": thinned(took),
        "codes": sorted(codes),
    }


def _code(code: int, answers: int) -> str:
    """As dnsperf calls it; and an answer without a record, which it does not tell apart."""
    if code == 0:
        return "NOERROR" if answers else "NODATA"
    return {2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}.get(code, str(code))


def _queries(names: Iterable[str]) -> list[bytes]:
    head = _HEAD.pack(_ID, 0x0100, 1, 0, 0, 0)
    return [head + b"".join(_label(one) for one in name.split(".")) + _TAIL for name in names]


def _label(text: str) -> bytes:
    return bytes((len(text),)) + text.encode()
