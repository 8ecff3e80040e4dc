"""What the `nft` binary was seen to send, from a file that tools/capture_nft.py wrote."""

import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

_FILE = Path(__file__).parents[1] / "boxwall_agent/nft/captured.txt"
_INDENT = 2
_KIND_MASK = 0x3FFF
_ELEMENTS = 3
_LIST_ELEMENT = struct.pack("=H", 0x8001)

Left: TypeAlias = tuple[str, int]
"""Whose attribute, and its kind: "message", "element", or the name of an expression."""


@dataclass(slots=True)
class _Attribute:
    head: bytes
    value: bytes = b""
    within: list["_Attribute"] = field(default_factory=list)

    @property
    def kind(self) -> int:
        return int(struct.unpack("=H", self.head[2:])[0]) & _KIND_MASK


def captured(statement: str, *left_out: Left) -> bytes:
    """The attributes of the last message that the statement sent, without those that are left out
    (which shortens what they are in).
    """
    lines = _statements()[statement]
    last = max(number for number, line in enumerate(lines) if not line.startswith(" "))
    top = _Attribute(b"")
    path = [top]
    for line in lines[last + 1 :]:
        depth = (len(line) - len(line.lstrip())) // _INDENT
        head, _, value = line.strip().partition("  ")
        one = _Attribute(bytes.fromhex(head), bytes.fromhex(value))
        del path[depth:]
        path[-1].within.append(one)
        path.append(one)
    return b"".join(_encoded(one, "message", left_out) for one in top.within)


@cache
def _statements() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in _FILE.read_text().splitlines():
        if line.startswith("> "):
            lines = found[line.removeprefix("> ")] = []
        elif line and not line.startswith("#"):
            lines.append(line)
    return found


def _encoded(one: _Attribute, owner: str, left_out: tuple[Left, ...]) -> bytes:
    if (owner, one.kind) in left_out:
        return b""
    if not one.within:
        return one.head + one.value
    if owner == "message" and one.kind == _ELEMENTS:
        for each in one.within:  # nft numbers them; by the header all are NFTA_LIST_ELEM
            each.head = each.head[:2] + _LIST_ELEMENT
    inner = _owner_within(one, owner)
    value = b"".join(_encoded(each, inner, left_out) for each in one.within)
    return struct.pack("=H", 4 + len(value)) + one.head[2:] + value


def _owner_within(one: _Attribute, owner: str) -> str:
    """A message has lists; in a list are expressions, which begin with a name, or elements."""
    if owner == "message":
        return "list"
    if owner != "list" or one.kind != 1:
        return owner
    first = one.within[0]
    return "element" if first.within or first.kind != 1 else first.value.rstrip(b"\0").decode()
