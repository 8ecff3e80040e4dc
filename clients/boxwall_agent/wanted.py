"""What shall become of a node's boxes? What has happened in, boxes as they shall be out. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from boxwall.wire.entries import Entry
from boxwall_agent.hosted import Hosted, Standing, after, forgotten
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
    """Deny everything. What is gone or forgotten is closed already."""
    return [
        one.closed(standing, message)
        for one in boxes
        if one.standing is not Standing.GONE and not one.is_forgotten
    ]


def without_interface(boxes: Iterable[Hosted], index: int) -> Sequence[Hosted]:
    """An interface was removed: of the box it belonged to nothing passes any more.

    Its name stays closed: one that is made anew under it is not free.
    """
    return [
        one.closed(Standing.GONE, _NO_INTERFACE)
        for one in boxes
        if one.standing is not Standing.GONE and index in {each.index for each in one.interfaces}
    ]


def at_start(
    remembered: Iterable[Hosted],
    restored: Restored | None,
    existing: Mapping[str, int],
    *,
    is_same_place: bool,
) -> Sequence[Hosted]:
    """What an agent that starts has: what is remembered, as far as it can be trusted, and whatever
    else an earlier one policed, closed.

    `restored`: the table that was found. `existing`: index of every interface of the node, by name.
    `is_same_place`: whether the boxes are remembered from this boot and network namespace.
    """
    boxes = [_trusted(one, restored, existing, is_same_place) for one in remembered]
    if restored is not None:
        known = {interface.name for one in boxes for interface in one.interfaces}
        boxes += (forgotten(name, existing.get(name)) for name in sorted(restored.names - known))
    return boxes


def _trusted(
    hosted: Hosted, restored: Restored | None, existing: Mapping[str, int], is_same_place: bool
) -> Hosted:
    if not is_same_place or any(existing.get(one.name) != one.index for one in hosted.interfaces):
        return hosted.closed(Standing.GONE, _NO_INTERFACE)
    if hosted.policy is None or restored is None:
        return hosted
    if all(restored.is_open(interface) for interface in hosted.interfaces):
        return hosted
    return hosted.closed(Standing.WAITING, _WAS_CLOSED)
