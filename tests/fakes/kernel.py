"""A kernel that holds what it is told, and refuses what a test wants refused."""

from collections.abc import Callable, Iterable

from boxwall_agent.errors import KernelError, KernelRejected, KernelUnsure
from boxwall_agent.netlink import iterate_attributes, read_attributes, read_messages
from boxwall_agent.nft.batch import Batch, TableFlags, Type
from boxwall_agent.nft.kernel import FoundTable
from boxwall_agent.nft.objects import Element


class FakeKernel:
    """Reads the bytes of a batch as the kernel would, as far as elements go.

    `refuse` is asked for each batch, and returns the error to raise, or None; `loses_answer`,
    whether it is done and nobody hears of it.
    """

    def __init__(self) -> None:
        self.held: set[Element] = set()
        self.rules = 0
        self.found: FoundTable | None = None
        self.commits = 0
        self.refuse: Callable[[Seen], KernelError | None] = lambda seen: None
        self.loses_answer: Callable[[Seen], bool] = lambda seen: False

    def commit(self, batch: Batch) -> None:
        """Do it, or refuse all of it."""
        seen = Seen(batch)
        error = self.refuse(seen)
        if error is not None:
            raise error
        held = set() if seen.deletes_table else set(self.held)
        if seen.makes_table and self.found is not None and not seen.deletes_table:
            raise KernelRejected(17, "sets", "File exists")
        for element in seen.deleted:
            if not any((one.set, one.key) == (element.set, element.key) for one in held):
                raise KernelRejected(2, f"elements of {element.set}", "No such file or directory")
            held = {one for one in held if (one.set, one.key) != (element.set, element.key)}
        for element in seen.added:
            if any((one.set, one.key) == (element.set, element.key) for one in held - {element}):
                raise KernelRejected(17, f"elements of {element.set}", "File exists")
            held.add(element)
        self.held = held
        self.rules = seen.rules if seen.deletes_table else self.rules + seen.rules
        if seen.makes_table:
            self.found = FoundTable(flags=TableFlags.NONE, is_ours=True, owner=None)
        self.commits += 1
        if self.loses_answer(seen):
            raise KernelUnsure("the kernel's answer was lost")

    def table(self) -> FoundTable | None:
        """The table, once there is one."""
        return self.found

    def elements(self, name: str) -> Iterable[Element]:
        """What a set holds."""
        return [element for element in self.held if element.set == name]

    def rule_count(self) -> int:
        """How many rules there are."""
        return self.rules


class Seen:
    """What a batch would do."""

    def __init__(self, batch: Batch) -> None:
        self.added: list[Element] = []
        self.deleted: list[Element] = []
        self.rules = 0
        self.makes_table = self.deletes_table = False
        for message in read_messages(batch.encode(1).data):
            match message.kind & 0xFF if message.kind >> 8 else None:
                case Type.NEWTABLE:
                    self.makes_table = True
                case Type.DELTABLE:
                    self.deletes_table = True
                case Type.NEWRULE:
                    self.rules += 1
                case Type.NEWSETELEM:
                    self.added += _elements(message.body)
                case Type.DELSETELEM:
                    self.deleted += _elements(message.body)

    def touches(self, index: int) -> bool:
        """Whether it adds something for the interface with this index."""
        key = index.to_bytes(4, "little")
        return any(element.key.startswith(key) for element in self.added)


def _elements(body: bytes) -> list[Element]:
    found = read_attributes(body)
    name = found[2].rstrip(b"\0").decode()
    elements = []
    for _, one in iterate_attributes(found[3]):
        parts = read_attributes(one)
        if 3 in parts:
            continue  # the end of a range
        value = read_attributes(parts[2])[1] if 2 in parts else b""
        elements.append(Element(name, read_attributes(parts[1])[1], value))
    return elements


class FakeSwitch:
    """Remembers what was taken down."""

    def __init__(self) -> None:
        self.cuts: list[str] = []

    def cut(self, interface: object) -> None:
        """Take it down."""
        self.cuts.append(interface.name)  # type: ignore[attr-defined]  # an Interface
