"""Print what the `nft` binary tells the kernel for some statements, as readable netlink.

    python tools/capture_nft.py < tests/boxwall_agent/nft/captured.txt > new.txt

Needs root, nft and strace, and iptables for statements that begin with `iptables-nft`. Run it in a
network namespace of its own: `unshare --net`. A line that begins with `> ` is a statement, and one
transaction; they are run in order. Remarks (`# `) are copied, other lines are not read.

Of each transaction the messages are printed, without the headers that number them: type and family,
then one attribute on a line, length and kind first, those within another below it. What the kernel
says of a statement is passed on: some kernels lack an expression, and were told of it all the same.
"""

import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_SUBSYSTEM = 10
_DUMPED = re.compile(r"^(?:\d+ +)?\s*\| [0-9a-f]{5}  (.{49})")
_NESTED = 0x8000
_INDENT = "  "


def main() -> None:
    """Read statements, print messages."""
    version = subprocess.run(["nft", "--version"], capture_output=True, text=True, check=True)
    print(f"# What {version.stdout.strip()} sends, by tools/capture_nft.py.")
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin.read().splitlines()[1:]:
            if line.startswith("# "):
                print(f"\n{line}")
            if line.startswith("> "):
                print(f"\n{line}")
                print(*_messages(_sent(line.removeprefix("> "), Path(folder))), sep="\n")


def _sent(statement: str, folder: Path) -> bytes:
    """What goes through the socket for one statement."""
    script, log = folder / "one.nft", folder / "strace.log"
    script.write_text(statement + "\n")
    is_nft = not statement.startswith("iptables-nft")
    command = ["nft", "-f", str(script)] if is_nft else statement.split()
    traced = ["strace", "-f", "-e", "trace=sendmsg", "-e", "write=all", "-o", str(log)]
    if subprocess.run([*traced, *command], check=False).returncode:
        print(f"the kernel refused: {statement}", file=sys.stderr)
    found = (_DUMPED.match(line) for line in log.read_text().splitlines())
    return b"".join(bytes.fromhex(one[1]) for one in found if one)


def _messages(data: bytes) -> Iterator[str]:
    """The messages that change something: others ask, or frame the transaction."""
    at = 0
    while at < len(data):
        size, kind, flags = struct.unpack_from("=IHH", data, at)
        body = data[at + 16 : at + size]
        if kind >> 8 == _SUBSYSTEM and kind & 0xFF in (0, 2, 3, 5, 6, 8, 9, 11, 12, 14):
            changes = flags & 0x300 != 0x300
            if changes:
                yield f"{struct.pack('=H', kind).hex()} {body[:4].hex()}"
                yield from _attributes(body[4:], 1)
        at += (size + 3) & ~3


def _attributes(data: bytes, depth: int) -> Iterator[str]:
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        head, value = data[at : at + 4], data[at + 4 : at + ((size + 3) & ~3)]
        start = f"{_INDENT * depth}{head[:2].hex()} {head[2:].hex()}"
        if kind & _NESTED:
            yield start
            yield from _attributes(value, depth + 1)
        else:
            yield f"{start}  {value.hex(' ', 4)}"
        at += (size + 3) & ~3


if __name__ == "__main__":
    main()
