"""An agent and a control plane for one run, where the node has none."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from boxwall_agent.errors import KernelError
from boxwall_agent.nft.batch import BRIDGE, INET, Batch
from boxwall_agent.nft.kernel import Nftables, open_nftables
from boxwall_agent.sandbox import records
from boxwall_agent.sandbox.errors import AgentNotUsable
from boxwall_agent.sandbox.processes import ProcessId, process_id
from boxwall_agent.sandbox.records import Record
from boxwall_agent.sandbox.sandbox import launch

LINK_PREFIX: Final = "bwr"
"""What the links of sandboxes begin with."""

_BOXES: Final = "boxes"
"""The set of the interfaces that the table polices."""

_PATIENCE: Final = 20.0
_END_PATIENCE: Final = 15.0
"""Seconds."""

_STEP: Final = 0.01
_SHOWN_LINES: Final = 5

CheckSignals = Callable[[], None]
"""Raises if the user wants it to end."""


def answers(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except (OSError, ValueError):
            return False
    return True


class PrivateAgent:
    """Both processes. End it, whatever happens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    def start(cls, record: Record, check_signals: CheckSignals) -> tuple[Self, Record]:
        """Start both; return when they serve, with the record of it. Blocks, before any gRPC.

        Raises AgentNotUsable, having left nothing.
        """
        check_table()
        private = cls(records.folder_of(record.box_id))
        private._folder.mkdir(mode=0o700)
        try:
            server, agent = private._commands(record.box_id)
            for name, command, answer in (
                ("server", server, "boxwall serves on"),
                ("agent", agent, "boxwall enforces"),
            ):
                record = private._start(record, name, command)
                private._wait(name, answer, check_signals)
        except BaseException:
            private.end()
            raise
        return private, record

    @property
    def server(self) -> str:
        """The control plane, as clients name it."""
        return f"unix:{self._folder / 'server.sock'}"

    @property
    def socket(self) -> Path:
        """The agent's."""
        return self._folder / "agent.sock"

    def end(self) -> None:
        """End both, the agent first, and remove what they made. Blocks for some seconds at most."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(_END_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        remove_what_is_left(self._folder)

    def _commands(self, box_id: str) -> tuple[list[str], list[str]]:
        this = [sys.executable, "-P", "-m", "boxwall"]
        quiet = ["--metrics-listen", "off", "--log-format", "json"]
        store = f"sqlite:{self._folder / 'boxwall.db'}"
        server = [*this, "server", "--listen", self.server, "--store", store, *quiet]
        agent = [*this, "agent", "--server", self.server, "--node-id", box_id]
        agent += ["--state-dir", str(self._folder), "--agent-socket", str(self.socket)]
        return server, agent + quiet

    def _start(self, record: Record, name: str, command: list[str]) -> Record:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BOXWALL_")}
        with self._log(name).open("wb") as log:
            process = launch(
                command,
                signal.SIGTERM,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the command
            )
        self._processes.append(process)
        started = process_id(process.pid)
        known: tuple[ProcessId, ...] = record.private or ()
        record = replace(record, private=known if started is None else (*known, started))
        records.save(record)
        return record

    def _wait(self, name: str, answer: str, check_signals: CheckSignals) -> None:
        until = time.monotonic() + _PATIENCE
        log = self._log(name)
        while answer not in (text := log.read_text(errors="replace")):
            if self._processes[-1].poll() is not None or time.monotonic() > until:
                last = " | ".join(text.splitlines()[-_SHOWN_LINES:]) or "it says nothing"
                raise AgentNotUsable(f"the private {name} does not start: {last}")
            check_signals()
            time.sleep(_STEP)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def check_table() -> None:
    """A private agent would take over a table that it finds. Raises AgentNotUsable if others need
    that.
    """
    with _translated(), open_nftables() as nft:
        found = nft.table()
        if found is None:
            return
        if not found.is_ours:
            raise AgentNotUsable(
                "there is a table `inet boxwall` that Boxwall did not make; if nobody needs it, "
                "delete it with `nft delete table inet boxwall`"
            )
        if found.owner:
            raise AgentNotUsable(
                "an agent runs in this network namespace, and answers on another socket; name it "
                "with --agent-socket, or, if it is the private one of another `boxwall run`, wait "
                "for that to end, or start one for all with `boxwall agent`"
            )
        others = _boxes_of_others(nft)
    if others:
        raise AgentNotUsable(
            f"the node's agent does not run, and its rules still police {', '.join(others)}; "
            "start it with `boxwall agent`, or, if nobody needs them, delete the rules with "
            "`nft delete table inet boxwall`"
        )


def remove_what_is_left(folder: Path) -> None:
    """Remove the tables of a private agent that has ended, and its files."""
    # An agent that owns the table, or boxes that are not ours: it is somebody else's by now.
    with contextlib.suppress(KernelError), open_nftables() as nft:
        found = nft.table()
        if found is not None and found.is_ours and not found.owner and not _boxes_of_others(nft):
            for family in (BRIDGE, INET):
                batch = Batch(family=family)
                batch.delete_table()
                with contextlib.suppress(KernelError):
                    nft.commit(batch)
    shutil.rmtree(folder, ignore_errors=True)


def _boxes_of_others(nft: Nftables) -> list[str]:
    """Interfaces that the table polices, but those of sandboxes that have gone."""
    here = {name for _, name in socket.if_nameindex()}
    names = {
        element.key.rstrip(b"\0").decode("ascii", "replace") for element in nft.elements(_BOXES)
    }
    return sorted(name for name in names if name in here or not name.startswith(LINK_PREFIX))


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KernelError as exc:
        raise AgentNotUsable(str(exc)) from exc
