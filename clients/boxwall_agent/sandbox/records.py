"""What each run has made, one file for each, so that the next run can sweep after one that died."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from boxwall_agent.sandbox.errors import CannotSandbox
from boxwall_agent.sandbox.processes import Namespace, ProcessId

RUN_DIR: Final = Path("/run/boxwall/run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run. It is written before anything is made, and forgotten when everything is gone."""

    box_id: str
    runner: ProcessId
    boot: str
    began: float
    """Seconds since the epoch."""
    link: str
    """The host's end of the link."""
    server: str
    agent_socket: str
    namespace: Namespace | None = None
    private: tuple[ProcessId, ...] | None = None
    """Processes of a private agent and its control plane; None: the run uses the node's."""


def folder_of(box_id: str) -> Path:
    """Where a run keeps files, if it has any."""
    return RUN_DIR / box_id


def save(record: Record) -> None:
    """Write a record, all of it or nothing. Raises CannotSandbox."""
    path = _path(record.box_id)
    unfinished = path.with_suffix(".new")
    with _translated():
        unfinished.write_text(json.dumps(_to_document(record)))
        unfinished.replace(path)


def forget(box_id: str) -> None:
    """Remove a record."""
    _path(box_id).unlink(missing_ok=True)


def all_records() -> Iterator[Record]:
    """Yield the records that can be read."""
    for path in sorted(RUN_DIR.glob("run-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            yield _from_document(json.loads(path.read_text()))


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Only one run at a time is in here: choosing addresses, and making the link that has them.

    Makes the directory. Raises CannotSandbox.
    """
    with _translated():
        RUN_DIR.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        RUN_DIR.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(RUN_DIR / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise CannotSandbox(f"{RUN_DIR} cannot be written: {exc.strerror}") from exc


def _path(box_id: str) -> Path:
    return RUN_DIR / f"{box_id}.json"


def _to_document(record: Record) -> dict[str, Any]:
    private = record.private
    return {
        "box_id": record.box_id,
        "runner": _process_to_document(record.runner),
        "boot": record.boot,
        "began": record.began,
        "link": record.link,
        "server": record.server,
        "agent_socket": record.agent_socket,
        "namespace": record.namespace
        and {"inode": record.namespace.inode, "cookie": record.namespace.cookie},
        "private": None if private is None else [_process_to_document(one) for one in private],
    }


def _from_document(document: Any) -> Record:
    namespace, private = document["namespace"], document["private"]
    return Record(
        box_id=document["box_id"],
        runner=_process_from_document(document["runner"]),
        boot=document["boot"],
        began=float(document["began"]),
        link=document["link"],
        server=document["server"],
        agent_socket=document["agent_socket"],
        namespace=namespace and Namespace(namespace["inode"], namespace["cookie"]),
        private=None if private is None else tuple(map(_process_from_document, private)),
    )


def _process_to_document(process: ProcessId) -> dict[str, int]:
    return {"pid": process.pid, "start_time": process.start}


def _process_from_document(document: Any) -> ProcessId:
    return ProcessId(document["pid"], document["start_time"])
