"""A real control plane and a real agent in the lab's node, used as users do."""

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from fakes.server_process import ROOT, ServerProcess, boxwall, environment
from lab.network import Box, Lab

T = TypeVar("T")


class AgentProcess:
    """`boxwall agent` in a namespace. `start` returns when it answers on its socket."""

    def __init__(self, folder: Path, namespace: str, server: str) -> None:
        self.socket = folder / "agent.sock"
        self.log = folder / "agent.log"
        self._state = folder / "agent"
        self._namespace = namespace
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [
            *("ip", "netns", "exec", self._namespace),
            *boxwall("agent", "--server", self._server, "--node-id", "n1"),
            *("--state-dir", str(self._state), "--agent-socket", str(self.socket)),
            *arguments,
        ]

    def start(self, *arguments: str, command: list[str] | None = None) -> None:
        """Start, and wait until it enforces. `command`: instead of the usual one."""
        seen = self.log.read_text().count("boxwall enforces") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command or self.command(*arguments), stdout=log, stderr=log, env=environment()
            )
        deadline = time.monotonic() + 20
        while self.log.read_text().count("boxwall enforces") == seen:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"the agent does not run: {self.log.read_text()}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Of the running agent: `ip netns exec` becomes what it executes."""
        assert self._process is not None
        return self._process.pid

    @property
    def state_files(self) -> list[Path]:
        """What it remembers, in its files."""
        return list(self._state.iterdir())

    def signal(self, number: signal.Signals) -> int:
        """Send a signal that ends it; return the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process = None
        return status

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            self.signal(signal.SIGKILL)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it has logged of a kind."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found


def limited_to_its_unit(command: list[str]) -> list[str]:
    """The command line of an agent in a namespace, with the capabilities that its unit gives."""
    unit = (ROOT / "deploy/boxwall-agent.service").read_text()
    (line,) = (one for one in unit.splitlines() if one.startswith("CapabilityBoundingSet="))
    names = line.partition("=")[2].split()
    wanted = ",".join(("-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in names)))
    enter, command = command[:4], command[4:]
    return [*enter, "setpriv", f"--bounding-set={wanted}", "--no-new-privs", *command]


class Site:
    """A lab with a control plane and an agent; `boxwall` runs the command line against both."""

    def __init__(self, lab: Lab, folder: Path, *agent: str) -> None:
        """`agent`: more arguments for it."""
        self.lab = lab
        self.server = ServerProcess(folder)
        self.server.start()
        self.agent = AgentProcess(folder, lab.node.name, self.server.target)
        try:
            self.agent.start(*agent)
        except BaseException:
            self.close()
            raise

    def boxwall(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            boxwall(*arguments),
            capture_output=True,
            text=True,
            timeout=30,
            env={
                **environment(),
                "BOXWALL_SERVER": self.server.target,
                "BOXWALL_AGENT_SOCKET": str(self.agent.socket),
            },
        )

    def must(self, *arguments: str) -> dict[str, Any]:
        """Run the command line; it must succeed. Returns what it answers."""
        done = self.boxwall("--output", "json", *arguments)
        assert done.returncode == 0, done
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def box(self, box_id: str, *policy: str) -> Box:
        """Make a box with a policy and attach it."""
        box = self.lab.box()
        self.must("box", "create", "--id", box_id, *policy)
        self.must("attach", box_id, "--netns", box.name)
        return box

    def close(self) -> None:
        """Leave nothing running."""
        self.agent.close()
        self.server.close()


@contextlib.contextmanager
def site(lab: Lab, folder: Path, *agent: str) -> Iterator[Site]:
    """A running site. `agent`: more arguments for it."""
    made = Site(lab, folder, *agent)
    try:
        yield made
    finally:
        made.close()


def eventually(ask: Callable[[], T], is_good: Callable[[T], object], patience: float = 10) -> T:
    """Ask until the answer is good; return it."""
    until = time.monotonic() + patience
    while True:
        answer = ask()
        if is_good(answer):
            return answer
        assert time.monotonic() < until, answer
        time.sleep(0.05)
