"""An agent with two servers on one database, and a token that is replaced meanwhile."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fakes.agent_process import AgentProcess, eventually
from fakes.identities import token_entry, write_tokens
from fakes.postgres_server import PostgresServer
from fakes.server_process import ServerProcess, boxwall, environment
from lab.network import Box, Lab
from lab.servers import Echo, reaches

PATIENCE = 45
OUTSIDE = "1.1.1.1"
ADMIN = "the-token-of-the-administrator-of-this-test"
OLD = "the-first-token-of-the-node-of-this-test-000"
NEW = "the-second-token-of-the-node-of-this-test-00"


class Replica(ServerProcess):
    """A server in the node's namespace."""

    def __init__(self, folder: Path, namespace: str, listen: str, store: str) -> None:
        folder.mkdir()
        super().__init__(folder, listen, store)
        self._namespace = namespace

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return ["ip", "netns", "exec", self._namespace, *super().command(*arguments)]

    def _wait_until_serving(self) -> None:
        """Its word must do: it cannot be asked from out here."""
        said = self._said()
        eventually(self._said, lambda now: now > said or not self.is_running, PATIENCE)
        assert self.is_running, self.log.read_text()

    def _said(self) -> int:
        return self.log.read_text().count("boxwall serves on ")

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has neither ended nor been ended."""
        return self._process is not None and self._process.poll() is None


class Fleet:
    """Two replicas, an agent that knows both, and a command line that does."""

    def __init__(self, lab: Lab, folder: Path, store: str, stack: ExitStack) -> None:
        self.lab = lab
        self._folder = folder
        self.tokens = folder / "tokens.toml"
        self.node_token = folder / "node.token"
        self.let_in(OLD)
        self.hand_over(OLD)
        self.replicas = []
        for number in (1, 2):
            replica = Replica(folder / str(number), lab.node.name, free_address(), store)
            stack.callback(replica.close)
            self.start(replica)
            self.replicas.append(replica)
        self.agent = AgentProcess(folder, lab.node.name, self.addresses)
        stack.callback(self.agent.close)
        self.agent.start("--token-file", str(self.node_token))

    @property
    def addresses(self) -> str:
        """What clients and the agent are given."""
        return ",".join(replica.target for replica in self.replicas)

    def start(self, replica: Replica) -> None:
        """Start a replica."""
        replica.start("--tokens", str(self.tokens))

    def let_in(self, *node_tokens: str) -> None:
        """Have the servers know the administrator and these tokens of the node."""
        nodes = [token_entry(token, "enforce", node="n1") for token in node_tokens]
        write_tokens(self.tokens, token_entry(ADMIN, "admin"), *nodes)

    def hand_over(self, token: str) -> None:
        """Give the node another token, as docs/operating.md says."""
        beside = self.node_token.with_suffix(".new")
        beside.write_text(token + "\n")
        beside.chmod(0o600)
        beside.rename(self.node_token)

    def boxwall(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the command line in the node."""
        return subprocess.run(
            ["ip", "netns", "exec", self.lab.node.name, *boxwall("--output", "json", *arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            env={
                **environment(),
                "BOXWALL_SERVER": self.addresses,
                "BOXWALL_AGENT_SOCKET": str(self.agent.socket),
                "BOXWALL_TOKEN": ADMIN,
            },
        )

    def must(self, *arguments: str) -> Any:
        """Run the command line; it must succeed."""
        done = self.boxwall(*arguments)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def comes_to(self, box: Box, mode: str) -> None:
        """Set a policy: it is in force soon, whatever happens to servers meanwhile."""
        self.must("policy", "set", "b1", "--mode", mode, "--no-wait")
        state = eventually(
            lambda: self.must("box", "get", "b1")["enforcement"]["state"],
            lambda state: state == "ENFORCED",
            PATIENCE,
        )
        assert (state, reaches(box, OUTSIDE)) == ("ENFORCED", mode == "allow-all")

    def refused(self) -> int:
        """How often the agent was told that its credentials are not valid."""
        events = self.agent.events("out_of_contact")
        return sum("credentials" in event["error"] for event in events)

    def host(self) -> int:
        """Which replica has the node's stream, as their logs say; waits until one has."""
        last = eventually(self._last_connected, lambda found: found is not None, PATIENCE)
        assert last is not None
        return last

    def _last_connected(self) -> int | None:
        hosts = []
        for number, replica in enumerate(self.replicas):
            came, went = connections_of(replica)
            if replica.is_running and came > went:
                hosts.append(number)
        return hosts[0] if len(hosts) == 1 else None


def connections_of(replica: Replica) -> tuple[int, int]:
    """How often the node came to a replica, and went, since it was started last."""
    log = replica.log.read_text().rpartition("boxwall serves on ")[2]
    return log.count('"node_connected"'), log.count('"node_disconnected"')


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def fleet(lab: Lab, echo: Echo, tmp_path: Path, postgres: PostgresServer) -> Iterator[Fleet]:
    name = f"two_{os.getpid()}_{time.monotonic_ns()}"
    asyncio.run(postgres.database(name=name))
    with ExitStack() as stack:
        yield Fleet(lab, tmp_path, postgres.url_by_socket(name).text, stack)


@pytest.mark.timeout(300)
def test_an_agent_goes_on_at_the_other_server_and_with_another_token(fleet: Fleet) -> None:
    box = fleet.lab.box()
    fleet.must("box", "create", "--id", "b1", "--node-id", "n1", "--mode", "deny-all")
    fleet.must("attach", "b1", "--netns", box.name)
    fleet.comes_to(box, "allow-all")
    for mode in ("deny-all", "allow-all"):
        killed = fleet.replicas[fleet.host()]
        killed.kill()
        fleet.comes_to(box, mode)
        assert fleet.replicas[fleet.host()] is not killed
        fleet.start(killed)
    came = len(fleet.agent.events("in_contact"))
    fleet.hand_over(NEW)
    fleet.let_in(NEW)
    eventually(lambda: len(fleet.agent.events("in_contact")), lambda now: now > came, PATIENCE)
    fleet.comes_to(box, "deny-all")
    refused = fleet.refused()
    fleet.let_in()
    eventually(fleet.refused, lambda now: now > refused, PATIENCE)
    fleet.must("policy", "set", "b1", "--mode", "allow-all", "--no-wait")
    assert fleet.must("box", "get", "b1")["enforcement"]["state"] == "STALE"
    assert not reaches(box, OUTSIDE), "what nobody let in has told it nothing"
