"""Where the fields of the kernel's structures are: BTF, as in /sys/kernel/btf/vmlinux. Pure.

Source: Documentation/bpf/btf.rst, linux/btf.h. Types have numbers, from 1 on, in the order in which
they come; a member without a name is a structure whose members count as those around it.
"""

import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_MAGIC: Final = 0xEB9F
_HEADER: Final = struct.Struct("<HBBIIIII")
_TYPE: Final = struct.Struct("<III")
"""Where its name is, what it is, and its size or type. A member's are alike."""

_STRUCT, _UNION = 4, 5
_MOST: Final = 1 << 20
_FIXED: Final = {1: 4, 3: 12, 14: 4, 17: 4}
_FOR_EACH: Final = {_STRUCT: 12, _UNION: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Octets behind a type, by its kind: for all of it, or for each of its parts."""


class NoSuchType(Exception):
    """There is no such structure, or this is no BTF."""


@dataclass(frozen=True, slots=True)
class Types:
    """BTF, with where each type begins."""

    data: bytes
    begins: "array[int]"
    strings: int

    @classmethod
    def read(cls, data: bytes) -> "Types":
        """Find every type. Raises NoSuchType."""
        try:
            magic, _, _, head, at, size, strings, _ = _HEADER.unpack_from(data)
            if magic != _MAGIC:
                raise NoSuchType("this is no BTF of this byte order")
            begins = array("I", (0,))
            at, end = head + at, head + at + size
            while at < end and len(begins) < _MOST:
                begins.append(at)
                at += _TYPE.size + _behind(*_TYPE.unpack_from(data, at))
        except struct.error as exc:
            raise NoSuchType("the BTF is cut short") from exc
        return cls(data, begins, head + strings)

    def members(self, name: str) -> Mapping[str, int]:
        """Where the members of a structure begin, in bits. Raises NoSuchType."""
        wanted = name.encode() + b"\0"
        for number, at in enumerate(self.begins):
            where, what, _ = _TYPE.unpack_from(self.data, at)
            if number and what >> 24 & 31 == _STRUCT:
                start = self.strings + where
                if self.data[start : start + len(wanted)] == wanted:
                    return dict(self._members(number, 0))
        raise NoSuchType(f"the kernel tells nothing of struct {name}")

    def _members(self, number: int, base: int) -> Iterator[tuple[str, int]]:
        at = self.begins[number]
        _, what, _ = _TYPE.unpack_from(self.data, at)
        if what >> 24 & 31 not in (_STRUCT, _UNION):
            return
        for one in range(what & 0xFFFF):
            where, of, offset = _TYPE.unpack_from(self.data, at + _TYPE.size * (1 + one))
            bits = base + (offset & 0xFFFFFF if what >> 31 else offset)
            start = self.strings + where
            name = self.data[start : self.data.index(b"\0", start)].decode()
            if name:
                yield name, bits
            else:
                yield from self._members(of, bits)


def _behind(_: int, what: int, __: int) -> int:
    kind = what >> 24 & 31
    return _FIXED.get(kind, 0) + _FOR_EACH.get(kind, 0) * (what & 0xFFFF)
