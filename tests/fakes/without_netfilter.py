"""Runs a program as on a kernel without nf_tables.

    python without_netfilter.py COMMAND ...

A seccomp filter answers `socket(AF_NETLINK, ..., NETLINK_NETFILTER)` with EPROTONOSUPPORT, as a
kernel does that was built without it. Source: linux/seccomp.h, linux/bpf_common.h.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final

_SOCKET_CALL: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""AUDIT_ARCH_*, and the number of `socket` there."""

_AF_NETLINK, _NETLINK_NETFILTER = 16, 12
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000 | errno.EPROTONOSUPPORT
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT, _THIRD_ARGUMENT_AT = 0, 4, 16, 32
"""In struct seccomp_data, whose arguments have 64 bits."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main() -> None:
    """Install the filter, and become the command."""
    architecture, number = _SOCKET_CALL[platform.machine()]
    wanted = (
        (_ARCHITECTURE_AT, architecture),
        (_NUMBER_AT, number),
        (_FIRST_ARGUMENT_AT, _AF_NETLINK),
        (_THIRD_ARGUMENT_AT, _NETLINK_NETFILTER),
    )
    steps = []
    for left, (offset, value) in zip(range(len(wanted) - 1, -1, -1), wanted, strict=True):
        steps.append((_LOAD, 0, 0, offset))
        steps.append((_JUMP_IF_EQUAL, 0, 2 * left + 1, value))  # else to the last step
    steps += [(_RETURN, 0, 0, _FAIL), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    program = _Program(len(steps), code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the filter cannot be installed")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
