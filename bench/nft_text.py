"""What others use for a change of the table: libnftables, and the `nft` program."""

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import groupby
from operator import attrgetter

from boxwall_agent.nft import layout
from boxwall_agent.nft.family import FAMILIES
from boxwall_agent.nft.objects import TABLE, Element, Field, Set
from boxwall_agent.table import Plan, Table

LIBRARY = "libnftables.so.1"


def changes_of(table: Table, plan: Plan) -> tuple[list[Element], list[Element]]:
    """Return the elements that a plan, not yet adopted, takes away and adds."""
    held = [table.boxes[box].elements for box in plan.boxes if box in table.boxes]
    wanted = [rules.elements for rules in plan.boxes.values() if rules is not None]
    before, after = frozenset[Element]().union(*held), frozenset[Element]().union(*wanted)
    return sorted(before - after), sorted(after - before)


class Script:
    """Writes changes as `nft -f` reads them."""

    def __init__(self) -> None:
        made: list[Set] = list(layout.sets(layout.PerBox()))
        for family in FAMILIES:
            for length in family.key_lengths:
                made += layout.length_sets(family, length)
        self._sets = {one.name: one for one in made}

    def of(self, gone: Iterable[Element], new: Iterable[Element]) -> bytes:
        """Return one script, which is one transaction."""
        lines = [*self._lines("delete", gone), *self._lines("add", new)]
        return "\n".join([*lines, ""]).encode()

    def _lines(self, verb: str, elements: Iterable[Element]) -> Iterator[str]:
        for name, of_set in groupby(elements, attrgetter("set")):
            listed = ", ".join(self._element(self._sets[name], one) for one in of_set)
            yield f"{verb} element inet {TABLE} {name} {{ {listed} }}"

    def _element(self, its_set: Set, element: Element) -> str:
        parts, at = [], 0
        for field in its_set.key:
            parts.append(_field(field, element.key[at : at + field.octets]))
            at += field.octets
        key = " . ".join(parts)
        if its_set.value is None:
            return key
        return f"{key} : {_field(its_set.value, element.value)}"


class Libnftables:
    """One context of the library, kept as a long-running program would."""

    def __init__(self) -> None:
        """Raises OSError if it is not there."""
        self._library = ctypes.CDLL(LIBRARY)
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, script: bytes) -> None:
        """Run a script."""
        if self._library.nft_run_cmd_from_buffer(self._context, script) != 0:
            error = self._library.nft_ctx_get_error_buffer(self._context)
            raise RuntimeError(f"libnftables: {error.decode(errors='replace')[:500]}")


class NftProgram:
    """The program, started for each script."""

    def __init__(self) -> None:
        """Raises OSError if it is not there."""
        found = shutil.which("nft")
        if found is None:
            raise FileNotFoundError("there is no nft")
        self._path = found

    def run(self, script: bytes) -> None:
        """Run a script."""
        done = subprocess.run([self._path, "-f", "-"], input=script, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f"nft: {done.stderr.decode(errors='replace')[:500]}")


def _field(field: Field, octets: bytes) -> str:
    match field:
        case Field.IPV4:
            return str(IPv4Address(octets))
        case Field.IPV6:
            return str(IPv6Address(octets))
        case Field.MARK:
            return f"0x{int.from_bytes(octets, sys.byteorder):08x}"
        case Field.INTERFACE_INDEX | Field.PROTOCOL_FAMILY:
            return str(int.from_bytes(octets, sys.byteorder))
        case Field.INTERFACE_NAME:
            return '"' + octets.rstrip(b"\0").decode() + '"'
