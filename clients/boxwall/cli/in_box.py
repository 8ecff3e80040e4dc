"""A run of a command while its box lives: from the box's making to its end."""

import asyncio
import signal
from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from boxwall.cli.render.documents import Document, json_text, refusal_document
from boxwall.cli.render.problems import warning_lines
from boxwall.cli.render.tables import refusal_destination
from boxwall.cli.render.text import safe
from boxwall.cli.settings import Settings
from boxwall.sdk.errors import BoxNotFound, BoxwallError
from boxwall_agent.sandbox import records
from boxwall_agent.sandbox.foreground import ended, take_signals
from boxwall_agent.sandbox.sandbox import Sandbox
from boxwall_agent.sandbox.sweep import LONGEST_LIFE, Swept

if TYPE_CHECKING:
    from boxwall.sdk.agent import AgentClient
    from boxwall.sdk.box import EphemeralBox
    from boxwall.sdk.client import Client
    from boxwall.sdk.values import Refusal

_EXTEND_EVERY: Final = 3600.0
_LAST_REFUSALS: Final = 1.0
"""Seconds to wait for what was refused just before the command ended."""

_ENDED_BY_SIGNAL: Final = 128
"""And the signal's number: somebody wants it to end."""

_RECENT: Final = 100
"""Refusals from before the watch began."""


class _Phase(Enum):
    """What a signal does."""

    BEFORE = "ends the run"
    RUNNING = "goes to the command"
    AFTER = "nothing: all is being removed already"


class InBox:
    """One run. `use_agent` or `use_private_agent`, then `whole`, then `forget`."""

    def __init__(self, settings: Settings, document: Mapping[str, Any] | None) -> None:
        """`document`: the policy; None: the server's default."""
        self._settings = settings
        self._document = document
        self._agent_socket = Path()
        self._server: str | None = None
        """Of a private agent."""
        self._swept: list[Swept] = []
        self._phase = _Phase.BEFORE
        self._task: asyncio.Task[Any] | None = None
        self._sandbox: Sandbox | None = None
        self._shown = 0
        self._shown_more = asyncio.Event()
        self._is_clean = True
        self.interrupted_by = signal.SIGINT
        """The signal that ended it before the command was started."""

    def use_agent(self, agent_socket: Path, swept: list[Swept]) -> None:
        """The node has an agent. `swept`: runs whose boxes may still be attached."""
        self._agent_socket, self._swept = agent_socket, swept

    def use_private_agent(self, agent_socket: Path, server: str, swept: list[Swept]) -> None:
        """The run has its own; both end with it."""
        self.use_agent(agent_socket, swept)
        self._server = server
        self.say(
            "no agent answers on this node; this run has its own, and a control plane at "
            f"--server {server}"
        )

    def say(self, text: str) -> None:
        """Tell the user, on stderr."""
        self._tell(f"boxwall: {safe(text)}", {"note": text})

    def forget(self, box_id: str) -> None:
        """Forget the record, unless the next run has something to remove by it."""
        if self._is_clean:
            records.forget(box_id)

    async def whole(self, client: "Client", sandbox: Sandbox) -> int:
        """Make the box, put its policy in force, run the command, remove all; return its status.

        Raises BoxwallError, and CancelledError on a signal, if the command was not started.
        """
        from boxwall.sdk.agent import AgentClient
        from boxwall.sdk.box import EphemeralBox

        self._task, self._sandbox = asyncio.current_task(), sandbox
        take_signals(self._take)
        box_id = sandbox.record.box_id
        async with AgentClient(self._agent_socket, timeout=self._settings.timeout) as agent:
            await self._finish_sweep(client, self._swept)
            box = await EphemeralBox.create(
                box_id=box_id,
                ttl=LONGEST_LIFE,
                name="boxwall run",
                network_policy=self._document,
                client=client,
            )
            try:
                self._warn(box)
                await self._attach(agent, box, sandbox)
                return await self._run(agent, box, sandbox)
            finally:
                self._phase = _Phase.AFTER
                self._is_clean = False
                undead = await asyncio.to_thread(sandbox.close)
                if undead:
                    self.say(f"processes that do not die: {', '.join(map(str, undead))}")
                self._is_clean = await self._leave(agent, box) and not undead

    async def _attach(self, agent: "AgentClient", box: "EphemeralBox", sandbox: Sandbox) -> None:
        # By the interface: an agent with the capabilities of its documented unit may not open the
        # namespace of a process that has more.
        try:
            attached = await agent.attach(
                box.id,
                interface=sandbox.record.link,
                addresses=sandbox.addresses,
                masquerade=True,
            )
        except BoxNotFound as exc:
            raise BoxNotFound(
                f"the agent at {self._agent_socket} knows no box {box.id}, which was made just "
                "now: it follows another control plane; name that with --server",
                resource=exc.resource,
                reason=exc.reason,
            ) from exc
        where = f" --server {self._server}" if self._server else ""
        self.say(f"{attached.mode} is in force; change it with: boxwall policy set {box.id}{where}")
        if attached.message:
            self.say(f"note: {attached.message}")

    async def _run(self, agent: "AgentClient", box: "EphemeralBox", sandbox: Sandbox) -> int:
        async with asyncio.TaskGroup() as tasks:
            chores = [
                tasks.create_task(self._show_refusals(box)),
                tasks.create_task(_keep_alive(box)),
            ]
            # From here to the command's end nothing is awaited that could be interrupted.
            self._phase = _Phase.RUNNING
            sandbox.start(self.say)
            status = await ended(sandbox.process)
            self._phase = _Phase.AFTER
            await self._wait_for_last_refusals(agent, box)
            if 0 < status < _ENDED_BY_SIGNAL and not self._shown:
                await self._wait_for_first_refusal()
            for chore in chores:
                chore.cancel()
        return status

    async def _show_refusals(self, box: "EphemeralBox") -> None:
        try:
            async with aclosing(box.refusals(recent=_RECENT)) as refusals:
                async for refusal in refusals:
                    self._shown += refusal.count
                    self._shown_more.set()
                    self._tell(_refusal_line(refusal), refusal_document(refusal))
        except BoxwallError as exc:
            self.say(f"refusals are shown no longer: {exc}")

    async def _wait_for_last_refusals(self, agent: "AgentClient", box: "EphemeralBox") -> None:
        """As many as the kernel counted; but it records only so many in a second."""
        with suppress(BoxwallError, TimeoutError):
            async with asyncio.timeout(_LAST_REFUSALS):
                status = await agent.status()
                counted = sum(b.packets_refused for b in status.boxes if b.box_id == box.id)
                while self._shown < counted:
                    self._shown_more.clear()
                    await self._shown_more.wait()

    async def _wait_for_first_refusal(self) -> None:
        """The kernel does not count names that were refused, and one may be why the command failed:
        what it says of that itself is that it could not be resolved.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_REFUSALS):
                await self._shown_more.wait()

    async def _leave(self, agent: "AgentClient", box: "EphemeralBox") -> bool:
        """Return whether the node and the control plane have nothing of the box any more."""
        if self._server:
            return True  # both end now
        try:
            with suppress(BoxNotFound):
                await agent.detach(box.id)
            with suppress(BoxNotFound):
                await box.delete()
        except BoxwallError as exc:
            self.say(f"box {box.id} is not removed yet ({exc}); the next `boxwall run` tries again")
            return False
        return True

    async def _finish_sweep(self, client: "Client", swept: Iterable[Swept]) -> None:
        """Detach and end the boxes of dead runners. One whose agent is silent is left for later."""
        from boxwall.sdk.agent import AgentClient
        from boxwall.sdk.box import Box

        for record in (one.record for one in swept if one.needs_agent):
            path = Path(record.agent_socket)
            try:
                async with AgentClient(path, timeout=self._settings.timeout) as agent:
                    with suppress(BoxNotFound):
                        await agent.detach(record.box_id)
                # At another control plane it ends by itself, when its time has come.
                if not self._server and record.server == (self._settings.server or ""):
                    with suppress(BoxNotFound):
                        await (await Box.get(record.box_id, client=client)).delete()
                records.forget(record.box_id)
            except BoxwallError as exc:
                self.say(f"box {record.box_id} of a killed run is not removed yet: {exc}")

    def _take(self, number: signal.Signals, reached_command: bool) -> None:
        if self._phase is _Phase.RUNNING and not reached_command:
            assert self._sandbox is not None
            self._sandbox.process.send_signal(number)
        elif self._phase is _Phase.BEFORE:
            assert self._task is not None
            self._phase = _Phase.AFTER
            self.interrupted_by = number
            self._task.cancel()

    def _warn(self, box: "EphemeralBox") -> None:
        for line in warning_lines(box.warnings):
            self._tell(line, {"note": line})

    def _tell(self, line: str, document: Document) -> None:
        wants_json = self._settings.output == "json"
        with suppress(OSError):  # nobody reads it any more: no reason to leave the command
            click.echo(json_text(document, on_one_line=True) if wants_json else line, err=True)


async def _keep_alive(box: "EphemeralBox") -> None:
    """A box that nobody looks after any more ends by itself."""
    while True:
        await asyncio.sleep(_EXTEND_EVERY)
        with suppress(BoxwallError):
            await box.extend(LONGEST_LIFE)


def _refusal_line(refusal: "Refusal") -> str:
    reason = "unknown" if refusal.reason is None else refusal.reason.value
    rule = "" if refusal.rule is None else f" ({refusal.rule})"
    times = f" x{refusal.count}" if refusal.count > 1 else ""
    return safe(f"boxwall: refused {refusal_destination(refusal)} {reason}{rule}{times}")
