"""Where the fields of a structure are, as the kernel tells it."""

import struct
from pathlib import Path

import pytest

from boxwall_agent.bpf.types import NoSuchType, Types

INT, ARRAY, STRUCT, UNION, ENUM, FUNC_PROTO, DECL_TAG = 1, 3, 4, 5, 6, 13, 17


class Btf:
    """Made by hand."""

    def __init__(self) -> None:
        self.types = b""
        self.strings = b"\0"

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, parts: int, more: bytes, name: str = "", flag: int = 0) -> None:
        what = flag << 31 | kind << 24 | parts
        self.types += struct.pack("<III", self.name(name), what, 4) + more

    def member(self, name: str, of: int, bits: int) -> bytes:
        return struct.pack("<III", self.name(name), of, bits)

    def bytes(self, magic: int = 0xEB9F) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBIIIII", magic, 1, 0, 24, *sizes) + self.types + self.strings


def made() -> Btf:
    """struct pair { a; union { struct { b : 2; }; c; }; }, behind something of each size."""
    btf = Btf()
    btf.add(INT, 0, bytes(4), "int")  # 1
    btf.add(ARRAY, 0, bytes(12))  # 2
    btf.add(ENUM, 3, bytes(24), "pair")  # 3, of another kind
    btf.add(FUNC_PROTO, 2, bytes(16))  # 4
    btf.add(DECL_TAG, 0, bytes(4), "tag")  # 5
    btf.add(STRUCT, 1, btf.member("b", 1, 2 << 24 | 5), flag=1)  # 6, with bits
    btf.add(UNION, 2, btf.member("", 6, 0) + btf.member("c", 1, 0))  # 7
    btf.add(STRUCT, 1, btf.member("other", 1, 0), "pairs")  # 8
    btf.add(STRUCT, 2, btf.member("a", 1, 0) + btf.member("", 7, 64), "pair")  # 9
    return btf


def test_members_of_what_has_no_name_count_as_those_around_it() -> None:
    assert Types.read(made().bytes()).members("pair") == {"a": 0, "b": 69, "c": 64}


def test_a_structure_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NoSuchType, match="nothing of struct sk_buff"):
        Types.read(made().bytes()).members("sk_buff")


@pytest.mark.parametrize(
    "data",
    [b"", made().bytes()[:10], made().bytes(magic=0x9FEB), made().bytes()[:60]],
    ids=["nothing", "half a header", "another byte order", "cut in its types"],
)
def test_what_is_no_btf_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NoSuchType):
        Types.read(data)


@pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="the kernel has no BTF")
def test_this_kernel_tells_where_a_checksum_goes() -> None:
    members = Types.read(Path("/sys/kernel/btf/vmlinux").read_bytes()).members("sk_buff")

    assert members["csum_offset"] == members["csum_start"] + 16
    assert members["network_header"] % 16 == 0
    assert members["ip_summed"] > 0
