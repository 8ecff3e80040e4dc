"""What shall become of a node's boxes? What has happened in, boxes as they shall be out. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from boxwall.wire.entries import Entry
from boxwall_agent.hosted import Hosted, Standing, after, forgotten, problem_of
from boxwall_agent.link_news import Link
from boxwall_agent.restored import Restored

_NOT_HERE = "the control plane does not know that this node hosts the box"
_NO_INTERFACE = "its interface is gone; attach the box again when there is one"
_WAS_CLOSED = "it was closed when the agent ended, and no policy has come since"


def after_entries(
    hosted: Mapping[str, Hosted],
    entries: Iterable[Entry],
    *,
    is_whole: bool = False,
    enforces_names: bool = False,
) -> Sequence[Hosted]:
    """What the control plane says.

    `is_whole`: boxes without an entry are closed, because the control plane has none of them.
    """
    wanted = {
        entry.box_id: after(hosted[entry.box_id], entry, enforces_names=enforces_names)
        for entry in entries
        if entry.box_id in hosted
    }
    if is_whole:
        without = [one for one in hosted.values() if one.box_id not in wanted]
        return [*wanted.values(), *all_closed(without, Standing.UNKNOWN, _NOT_HERE)]
    return list(wanted.values())


def all_closed(boxes: Iterable[Hosted], standing: Standing, message: str) -> Sequence[Hosted]:
    """Deny everything. What must be attached again, or is forgotten, is closed already."""
    return [
        one.closed(standing, message)
        for one in boxes
        if not one.standing.needs_attach and not one.is_forgotten
    ]


def without_interface(boxes: Iterable[Hosted], index: int) -> Sequence[Hosted]:
    """An interface was removed: of the box it belonged to nothing passes any more, by its other
    interfaces neither.

    Its name stays closed: one that is made anew under it is not free.
    """
    return [
        _without(one, lambda there: there != index)
        for one in boxes
        if index in {each.index for each in one.interfaces}
    ]


def _without(hosted: Hosted, is_there: Callable[[int], bool]) -> Hosted:
    """The box closed, because not all of its interfaces are there."""
    interfaces = tuple(
        one if is_there(one.index) else replace(one, index=0) for one in hosted.interfaces
    )
    return replace(hosted, interfaces=interfaces).closed(Standing.GONE, _NO_INTERFACE)


def as_linked(hosted: Hosted, link: Link) -> Sequence[Hosted]:
    """One of the box's interfaces, or what lies upon one, is so now: if it is not as it was
    attached, the box is closed.
    """
    indexes = {link.index, link.lower} - {0}
    concerned = (one for one in hosted.interfaces if one.index in indexes)
    problems = (problem_of(one, link) for one in concerned)
    problem = next(filter(None, problems), None)
    if problem is None or hosted.standing.needs_attach:
        return []
    return [hosted.closed(Standing.CHANGED, problem)]


def at_start(
    remembered: Iterable[Hosted],
    restored: Restored | None,
    existing: Mapping[int, Link],
    *,
    is_same_place: bool,
) -> Sequence[Hosted]:
    """What an agent that starts has: what is remembered, as far as it can be trusted, and whatever
    else an earlier one policed, closed.

    `restored`: the table that was found. `existing`: every interface of the node, by index.
    `is_same_place`: whether the boxes are remembered from this boot and network namespace.
    """
    boxes = [_trusted(one, restored, existing, is_same_place) for one in remembered]
    if restored is not None:
        boxes += _not_remembered(boxes, restored, existing)
    return boxes


def _not_remembered(
    boxes: Sequence[Hosted], restored: Restored, existing: Mapping[int, Link]
) -> Iterator[Hosted]:
    """By the name that was policed, or, of one that is called otherwise now, by its index."""
    interfaces = [interface for one in boxes for interface in one.interfaces]
    indexes = {link.name: link.index for link in existing.values()}
    names = restored.names - {one.name for one in interfaces}
    for name in sorted(names):
        yield forgotten(name, indexes.get(name))
    known = {one.index for one in interfaces} | {indexes.get(name) for name in names}
    for index in sorted(restored.indexes - known):
        if index in existing:
            yield forgotten(existing[index].name, index)


def _trusted(
    hosted: Hosted, restored: Restored | None, existing: Mapping[int, Link], is_same_place: bool
) -> Hosted:
    if not is_same_place:
        return _without(hosted, lambda index: False)
    if any(one.index not in existing for one in hosted.interfaces):
        return _without(hosted, existing.__contains__)
    for interface in hosted.interfaces:
        for changed in as_linked(hosted, existing[interface.index]):
            return changed
    if hosted.policy is None or restored is None:
        return hosted
    if all(restored.is_open(interface) for interface in hosted.interfaces):
        return hosted
    return hosted.closed(Standing.WAITING, _WAS_CLOSED)
