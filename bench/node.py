"""The actor that is a node: a namespace with an interface for each box, where a real agent runs."""

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.harness import Bench
from bench.messages import box_id
from bench.namespace import leave, said, spawn_inside
from bench.processes import Actor, Child, python
from bench.twenty import interface_of
from boxwall_agent.config import STATE_FILE
from boxwall_agent.hosted import Hosted
from boxwall_agent.nft.kernel import Nftables, open_nftables
from boxwall_agent.ruleset import Interface
from boxwall_agent.state import State

NODE_ID = "bench-node"
FIRST_INDEX = 100_000
"""Far from the indexes that the kernel gives to the far ends."""


class Node:
    """Runs in a process and a network namespace of its own."""

    def __init__(self) -> None:
        leave()
        # Addresses that the kernel makes up for each interface are no part of the question.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        self._nft: Nftables | None = None

    async def open(self, state_dir: str, boxes: int) -> None:
        """Make the interfaces, and a state file of an agent that they are attached to.

        As after `boxwall attach` of each, and before a policy has come.
        """
        # In a thread: pyroute2 has its own event loops.
        await asyncio.to_thread(_make, Path(state_dir, STATE_FILE), boxes)

    async def holds(self) -> dict[str, list[str]]:
        """Return what the kernel holds of networks: set, and keys in hexadecimal."""
        if self._nft is None:
            self._nft = open_nftables()
        names = [n for n in self._nft.set_names() if n.startswith(("allow", "deny"))]
        return {name: [one.key.hex() for one in self._nft.elements(name)] for name in names}


def _make(state_file: Path, boxes: int) -> None:
    """Links of the kind that boxes have; their far ends stay here, and nobody sends anything."""
    from pyroute2 import IPRoute  # not everywhere where this module is imported

    interfaces = [interface_of(box, FIRST_INDEX + box) for box in range(boxes)]
    with IPRoute() as link:
        for box, one in enumerate(interfaces):
            peer = {"ifname": f"far{box}"}
            link.link("add", ifname=one.name, index=one.index, kind="veth", peer=peer)
    remember(state_file, interfaces)


def remember(state_file: Path, interfaces: Iterable[Interface]) -> None:
    """Write the state file of an agent that boxes are attached to, each by one interface."""
    state = State(state_file)
    state.save(
        [
            Hosted(box_id=box_id(box), interfaces=(interface,))
            for box, interface in enumerate(interfaces)
        ],
        next_grant=1,
    )
    state.close()


@dataclass(slots=True)
class AgentFiles:
    """Where an agent keeps what it has."""

    state_dir: Path
    socket: Path
    log: Path


async def start_agent(
    bench: Bench, node: Actor, files: AgentFiles, server: str, *options: str
) -> tuple[Child, float]:
    """Start an agent in a node, with its defaults but for `options`; return it, and the seconds
    until it enforced.
    """
    argv = [
        *agent_command(),
        *("--server", f"unix:{server}", "--node-id", NODE_ID),
        *("--state-dir", str(files.state_dir), "--agent-socket", str(files.socket)),
        *("--metrics-listen", "off"),
        *options,
    ]
    child = await spawn_inside(bench, node, "agent", argv, files.log)
    return child, await said(child, files.log, b"boxwall enforces")


async def all_enforced(callers: Actor, boxes: int, timeout: float = 60.0) -> None:
    """Wait until the control plane says that every box is enforced."""
    async with asyncio.timeout(timeout):
        while True:
            states = await callers.call("states")
            if sum(is_enforced for _, is_enforced in states.values()) == boxes:
                return
            await asyncio.sleep(0.1)


def agent_command() -> list[str]:
    """Return `boxwall agent`."""
    script = Path(sys.executable).parent / "boxwall"
    if script.exists():
        return [str(script), "agent"]
    return python("-m", "boxwall", "agent")


def agent_files(bench: Bench) -> AgentFiles:
    """Return places that nothing uses yet."""
    return AgentFiles(bench.fresh("agent"), bench.fresh("agent.sock"), bench.fresh("agent.log"))
