"""`boxwall up` as root: a control plane and an agent in one process, set up by one command."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.server_process import boxwall, environment
from lab.network import Lab
from lab.servers import Echo, reaches


class Up:
    """The process, in the lab's node."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self._log = folder / "up.log"
        self._environment = {
            **environment(),
            "BOXWALL_SERVER": f"unix:{folder / 'server.sock'}",
            "BOXWALL_AGENT_SOCKET": str(folder / "agent.sock"),
        }
        arguments = boxwall(
            *("up", "--listen", f"unix:{folder / 'server.sock'}", "--metrics-listen", "off"),
            *("--store", f"sqlite:{folder / 'boxwall.db'}", "--state-dir", str(folder / "agent")),
            *("--agent-socket", str(folder / "agent.sock"), "--node-id", "n1"),
        )
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._inside(*arguments), stdout=log, stderr=log, env=environment()
            )
        deadline = time.monotonic() + 20
        while "Stop with Ctrl-C" not in self.said:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self.said)
            time.sleep(0.02)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def boxwall(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in the node."""
        return subprocess.run(
            self._inside(*boxwall(*arguments)),
            capture_output=True,
            text=True,
            timeout=30,
            env=self._environment,
        )

    def tables(self) -> int:
        """How many nf_tables tables the node has: each is an entry of the kernel's list."""
        listed = subprocess.run(
            self._inside("nft", "list", "tables"), capture_output=True, text=True, timeout=10
        )
        return len(listed.stdout.splitlines())

    def stop(self) -> int:
        """SIGTERM; return the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def close(self) -> None:
        """Leave nothing running."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def _inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.lab.node.name, *command]


@pytest.fixture
def up(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Up]:
    """A running `boxwall up`."""
    up = Up(lab, tmp_path)
    yield up
    up.close()


def test_it_says_that_it_enforces_and_does(up: Up) -> None:
    assert "enforces on node n1" in up.said
    box = up.lab.box()
    assert up.boxwall("box", "create", "--id", "b1", "--mode", "deny-all").returncode == 0
    assert up.boxwall("attach", "b1", "--netns", box.name).returncode == 0
    assert not reaches(box, "1.1.1.1")
    assert up.boxwall("policy", "set", "b1", "--mode", "allow-all").returncode == 0
    assert reaches(box, "1.1.1.1")
    assert up.stop() == 0
    # What is in force stays in force.
    assert reaches(box, "1.1.1.1")
    assert up.tables() == 2


def test_the_commands_that_it_prints_work(up: Up) -> None:
    printed = [line.strip() for line in up.said.splitlines() if line.startswith("  ")]
    assert len(printed) == 3
    for line in printed:
        *program, arguments = line.partition(" -m boxwall ")
        assert program[0] == sys.executable
        done = up.boxwall(*shlex.split(arguments))
        # `policy check` says by its status that a destination is denied.
        assert done.returncode == (1 if "check" in arguments else 0), done


def test_a_node_without_boxes_leaves_no_table(up: Up) -> None:
    assert up.tables() == 1
    assert up.stop() == 0
    assert up.tables() == 0
