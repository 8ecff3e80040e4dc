"""Loads the program into the kernel."""

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path
from typing import Final

from boxwall_agent.bpf.displaced import Fields, displaced_checksum
from boxwall_agent.bpf.types import NoSuchType, Types

_BTF: Final = Path("/sys/kernel/btf/vmlinux")
_SYSTEM_CALL: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_LOAD: Final = 5
"""BPF_PROG_LOAD."""

_SOCKET_FILTER: Final = 1
_INSTRUCTION: Final = 8
_ATTRIBUTES: Final = struct.Struct("<IIQQIIQII")


class ProgramRefused(Exception):
    """This kernel cannot tell, and why."""


def load_displaced_checksum() -> int:
    """Return the program's descriptor, to be closed by the caller. What uses it then keeps it.

    Raises ProgramRefused.
    """
    number = _SYSTEM_CALL.get(platform.machine())
    if number is None or sys.byteorder != "little":
        raise ProgramRefused(f"not on {platform.machine()}")
    try:
        program = displaced_checksum(Fields.of(Types.read(_BTF.read_bytes())))
    except OSError as exc:
        raise ProgramRefused(f"{_BTF}: {exc.strerror}") from exc
    except NoSuchType as exc:
        raise ProgramRefused(f"{_BTF}: {exc}") from exc
    return _load(number, program)


def _load(number: int, program: bytes) -> int:
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    attributes = _ATTRIBUTES.pack(
        *(_SOCKET_FILTER, len(program) // _INSTRUCTION),
        *(ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0),  # no log, any version of the kernel
    )
    libc = ctypes.CDLL(None, use_errno=True)
    given = ctypes.create_string_buffer(attributes, len(attributes))
    descriptor: int = libc.syscall(number, _LOAD, given, len(attributes))
    if descriptor < 0:
        code_of = ctypes.get_errno()
        hint = ": CAP_BPF and CAP_PERFMON are needed" if code_of == errno.EPERM else ""
        raise ProgramRefused(f"BPF: {os.strerror(code_of)}{hint}")
    return descriptor
