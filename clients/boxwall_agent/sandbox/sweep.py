"""After a runner that died (kill -9): what it made goes, and nothing else."""

import time
from dataclasses import dataclass
from typing import Final

from boxwall_agent.sandbox import records
from boxwall_agent.sandbox.network import remove_link
from boxwall_agent.sandbox.private import remove_what_is_left
from boxwall_agent.sandbox.processes import boot_id, end_all_in, end_process
from boxwall_agent.sandbox.records import Record

LONGEST_LIFE: Final = 24 * 3600.0
"""Seconds. The box of a dead runner has ended by itself by then, so nothing is left to ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """A run that was swept."""

    record: Record
    needs_agent: bool
    """Whether the box is still to be detached and deleted; the record stays until that is done."""
    undead: tuple[int, ...]
    """Processes that do not die."""


def sweep() -> list[Swept]:
    """Remove what dead runners left on this host. Blocks, and uses no gRPC."""
    boot = boot_id()
    swept = []
    for record in list(records.all_records()):
        if record.boot != boot:
            records.forget(record.box_id)
        elif not record.runner.is_alive:
            swept.append(_sweep(record))
    return swept


def _sweep(record: Record) -> Swept:
    undead = [] if record.namespace is None else end_all_in(record.namespace)
    remove_link(record.link, record.box_id)
    if record.private is not None:
        for process in reversed(record.private):
            if not end_process(process):
                undead.append(process.pid)
        remove_what_is_left(records.folder_of(record.box_id))
    needs_agent = record.private is None and time.time() - record.began < LONGEST_LIFE
    if not needs_agent:
        records.forget(record.box_id)
    return Swept(record=record, needs_agent=needs_agent, undead=tuple(undead))
