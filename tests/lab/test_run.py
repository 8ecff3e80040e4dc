"""`boxwall run` in the lab's node: what the command can do, and that nothing is left of it."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwall_agent.nft.kernel import open_nftables
from boxwall_agent.sandbox.processes import Namespace, pids_in, process_id
from fakes.agent_process import Site, limited_to_its_unit, site
from fakes.server_process import boxwall, environment
from lab.dns import RESOLVER, NameServer
from lab.namespaces import inside
from lab.network import NODE, Lab
from lab.servers import Echo
from lab.web import Web

RECORDS = Path("/run/boxwall/run")
OUTSIDE = ("1.1.1.1", "2600::1")

REACH = """
import socket, sys
for address in sys.argv[1:]:
    try:
        with socket.create_connection((address, 7), timeout=3) as connection:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
            print(address, flush=True)
    except OSError:
        pass
"""
"""Prints the addresses that answer."""


class Runner:
    """`boxwall run` in the node, beside an agent or, without a site, with its own."""

    def __init__(self, lab: Lab, here: Site | None, folder: Path) -> None:
        self.lab = lab
        self.here = here
        self._socket = folder / "none.sock" if here is None else here.agent.socket
        self.more: dict[str, str] = {}
        """Of the environment."""

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return ["ip", "netns", "exec", self.lab.node.name, *boxwall("run", *arguments)]

    @property
    def environment(self) -> dict[str, str]:
        """Names the site, if there is one."""
        server = {} if self.here is None else {"BOXWALL_SERVER": self.here.server.target}
        return environment() | server | {"BOXWALL_AGENT_SOCKET": str(self._socket)} | self.more

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run to the end. Nothing may be left."""
        done = subprocess.run(
            self.command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            timeout=40,
            env=self.environment,
        )
        assert "Traceback" not in done.stderr, done.stderr
        self.assert_nothing_left(box_of(done.stderr))
        return done

    def reached(self, *policy: str, addresses: tuple[str, ...]) -> set[str]:
        """Which of the addresses a command under the policy reaches."""
        done = self.run(*policy, "--", "python3", "-c", REACH, *addresses)
        assert done.returncode == 0, done
        return set(done.stdout.split())

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator["Running"]:
        """Start; what it prints first says that the command runs."""
        with subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                assert said, process.stderr and process.stderr.read()
                yield Running(process, said)
            finally:
                process.kill()

    def assert_nothing_left(self, box_id: str) -> None:
        """No link, no state, no box; and of a run with its own agent no table either."""
        with self.lab.node.netlink() as link:
            names = [one.get("ifname") for one in link.get_links()]
        assert not [name for name in names if name.startswith("bwr")], names
        if box_id:
            assert not list(RECORDS.glob(f"{box_id}*"))
        if self.here is None:
            with inside(self.lab.node.name), open_nftables() as nft:
                assert nft.table() is None
        else:
            assert self.here.must("box", "list")["boxes"] == []
            assert self.here.must("attached")["boxes"] == []


class Running:
    """A run that goes on."""

    def __init__(self, process: "subprocess.Popen[str]", said: str) -> None:
        self.process = process
        self.said = said

    def record(self) -> dict[str, Any]:
        """What it has written down."""
        documents = [json.loads(path.read_text()) for path in RECORDS.glob("run-*.json")]
        return next(one for one in documents if one["runner"]["pid"] == self.process.pid)

    def errors(self) -> str:
        """What it said until its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


@pytest.fixture
def beside(lab: Lab, echo: Echo, tmp_path: Path) -> Iterator[Runner]:
    """Runs beside an agent."""
    with site(lab, tmp_path) as made:
        yield Runner(lab, made, tmp_path)


@pytest.fixture
def alone(lab: Lab, echo: Echo, tmp_path: Path) -> Runner:
    """Runs without one."""
    return Runner(lab, None, tmp_path)


def box_of(errors: str) -> str:
    """The id of the box, from what was said."""
    found = re.search(r"run-[0-9a-f]{8}", errors)
    return found.group() if found else ""


@pytest.mark.parametrize("command", ["exit 0", "exit 7", "kill -TERM $$", "kill -KILL $$"])
def test_the_exit_status_is_the_commands_own(beside: Runner, command: str) -> None:
    expected = {"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137}
    assert beside.run("--", "sh", "-c", command).returncode == expected[command]


def test_stdin_and_stdout_are_the_commands(beside: Runner) -> None:
    done = beside.run("--mode", "deny-all", "--", "tr", "a-z", "A-Z", given="through\n")
    assert done.stdout == "THROUGH\n"


def test_allow_all_reaches_the_outside_and_not_the_node(beside: Runner) -> None:
    at_node = Echo(beside.lab.node)
    asked = (*OUTSIDE, *NODE, "10.9.9.9", "fd00::1")
    assert beside.reached("--mode", "allow-all", addresses=asked) == set(OUTSIDE)
    at_node.close()


def test_what_the_box_sends_leaves_under_the_nodes_addresses(beside: Runner) -> None:
    beside.reached("--mode", "allow-all", addresses=OUTSIDE)
    witness = beside.lab.internet.witness
    witness.look()
    sources = {str(p.source) for p in witness.seen if str(p.destination) in OUTSIDE}
    assert sources == set(NODE)


def test_deny_all_reaches_nothing(beside: Runner) -> None:
    assert beside.reached("--mode", "deny-all", addresses=OUTSIDE) == set()


def test_lists_decide_in_both_families(beside: Runner) -> None:
    lists = ("--allow-cidr", "1.0.0.0/8", "--allow-cidr", "2600::/32", "--deny-cidr", "1.1.1.1")
    asked = ("1.1.1.1", "1.1.1.2", "2.2.2.2", "2600::1", "2601::1")
    assert beside.reached(*lists, addresses=asked) == {"1.1.1.2", "2600::1"}


def test_a_policy_is_read_from_a_file(beside: Runner, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("mode: custom\nallowed_cidrs: [2.0.0.0/8]\n")
    found = beside.reached("--policy", str(file), addresses=("1.1.1.1", "2.2.2.2"))
    assert found == {"2.2.2.2"}


def test_refusals_are_shown_with_the_reason(beside: Runner) -> None:
    command = ("--", "python3", "-c", REACH, "1.1.1.1", "2600::1")
    said = beside.run("--mode", "deny-all", *command).stderr
    assert "boxwall: refused 1.1.1.1:7/tcp DENY_ALL" in said
    assert "boxwall: refused [2600::1]:7/tcp DENY_ALL" in said
    told = beside.run("-o", "json", "--mode", "deny-all", *command).stderr
    refused = [one for one in map(json.loads, told.splitlines()) if "reason" in one]
    assert {one["address"] for one in refused} == {"1.1.1.1", "2600::1"}


def test_a_refusal_just_before_the_end_is_shown_too(beside: Runner) -> None:
    command = ("--", "bash", "-c", "exec 3<>/dev/tcp/1.1.1.1/7")
    for _ in range(5):
        said = beside.run("--mode", "deny-all", *command).stderr
        assert "boxwall: refused 1.1.1.1:7/tcp DENY_ALL" in said


def test_the_policy_can_be_changed_while_the_command_runs(beside: Runner) -> None:
    assert beside.here is not None
    script = 'echo go; for i in $(seq 100); do python3 -c "$0" 1.1.1.1; sleep 0.1; done'
    with beside.started("--mode", "deny-all", "--", "sh", "-c", script, REACH) as run:
        assert run.said == "go\n"
        box = run.record()["box_id"]
        beside.here.must("policy", "set", box, "--mode", "allow-all")
        assert run.process.stdout is not None
        assert run.process.stdout.readline() == "1.1.1.1\n"
        run.process.terminate()
        assert run.process.wait(20) == 143


def test_processes_that_the_command_leaves_are_ended(beside: Runner) -> None:
    with beside.started("--", "sh", "-c", "sleep 1000 & trap '' TERM; sleep 1001 & echo $!") as run:
        run.process.wait(20)
    assert process_id(int(run.said)) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_the_runner_reaches_the_command_once(
    beside: Runner, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    wait = "while [ -z $n ]; do sleep 0.1; done; sleep 0.5"
    script = f"trap 'n=$((n+1))' {name}; echo go; {wait}; exit $n"
    with beside.started("--", "sh", "-c", script) as run:
        run.process.send_signal(number)
        assert run.process.wait(20) == 1
        box = box_of(run.errors())
    beside.assert_nothing_left(box)


def test_ctrl_c_on_a_terminal_reaches_the_command_once(beside: Runner) -> None:
    script = "trap 'echo caught' INT; echo go; sleep 1.5; echo end"
    said, status = on_terminal(beside, "\x03", "--", "sh", "-c", script)
    assert said.count("caught") == 1
    assert "end" in said
    assert status == 0
    beside.assert_nothing_left(box_of(said))


def test_ctrl_c_ends_a_command_that_does_not_catch_it(beside: Runner) -> None:
    said, status = on_terminal(beside, "\x03", "--", "sh", "-c", "echo go; sleep 100")
    assert status == 130
    beside.assert_nothing_left(box_of(said))


def test_an_interactive_shell_has_the_terminal(beside: Runner) -> None:
    shell = ("--", "bash", "--norc", "-i", "-c", "echo go; read line; echo got $line; exit 3")
    said, status = on_terminal(beside, "words\n", *shell)
    assert "got words" in said
    assert "no job control" not in said
    assert status == 3


def test_a_runner_that_was_killed_is_swept_by_the_next(beside: Runner) -> None:
    script = "trap '' HUP; sleep 1000 & echo $!; wait"
    with beside.started("--mode", "deny-all", "--", "sh", "-c", script) as run:
        record = run.record()
        run.process.kill()
        run.process.wait()
    sleeper = int(run.said)
    assert sleeper in pids_in(namespace_in(record))
    assert beside.here is not None
    assert len(beside.here.must("attached")["boxes"]) == 1
    done = beside.run("--", "true")
    assert f"removed what {record['box_id']} left" in done.stderr
    assert list(pids_in(namespace_in(record))) == []
    beside.assert_nothing_left(record["box_id"])


def test_a_run_that_goes_on_is_not_swept(beside: Runner) -> None:
    with beside.started("--", "sh", "-c", "echo go; sleep 1000") as run:
        done = subprocess.run(
            beside.command("--", "true"), capture_output=True, text=True, env=beside.environment
        )
        assert done.returncode == 0, done
        assert run.process.poll() is None
        assert (RECORDS / f"{run.record()['box_id']}.json").exists()
        run.process.terminate()
        assert run.process.wait(20) == 143


def test_nothing_runs_if_the_control_plane_is_away(beside: Runner, tmp_path: Path) -> None:
    assert beside.here is not None
    beside.here.server.kill()
    touched = tmp_path / "ran"
    done = subprocess.run(
        beside.command("--timeout", "1s", "--", "touch", str(touched)),
        capture_output=True,
        text=True,
        env=beside.environment,
        timeout=30,
    )
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    assert not touched.exists()
    beside.here.server.start()
    beside.assert_nothing_left("")


def test_nothing_runs_if_the_policy_cannot_be_in_force(beside: Runner, tmp_path: Path) -> None:
    assert beside.here is not None
    beside.here.must("node", "fence", "n1")
    touched = tmp_path / "ran"
    done = beside.run("--", "touch", str(touched))
    assert done.returncode == 4, done
    assert "boxwall node unfence" in done.stderr
    assert not touched.exists()


def test_a_policy_that_is_not_valid_is_refused_before_anything_is_made(beside: Runner) -> None:
    done = beside.run("--allow-cidr", "10.0.0.7/24", "--", "true")
    assert done.returncode == 1
    assert "use 10.0.0.0/24" in done.stderr
    assert box_of(done.stderr) == ""


def test_a_program_that_does_not_exist_is_said_before_anything_is_made(beside: Runner) -> None:
    done = beside.run("--", "no-such-program")
    assert done.returncode == 127
    assert "there is no program" in done.stderr


def test_the_agent_needs_no_more_capabilities_than_its_unit_gives(beside: Runner) -> None:
    assert beside.here is not None
    agent = beside.here.agent
    agent.signal(signal.SIGTERM)
    agent.start(command=limited_to_its_unit(agent.command()))
    assert beside.reached("--mode", "allow-all", addresses=OUTSIDE) == set(OUTSIDE)


def test_a_host_that_does_not_forward_is_made_to_and_it_is_said(beside: Runner) -> None:
    beside.lab.node.set_kernel(ipv4__ip_forward="0", ipv6__conf__all__forwarding="0")
    done = beside.run("--", "python3", "-c", REACH, *OUTSIDE)
    assert set(done.stdout.split()) == set(OUTSIDE)
    assert "net.ipv4.ip_forward was 0 and is 1" in done.stderr
    assert "net.ipv6.conf.all.forwarding was 0 and is 1" in done.stderr


def test_without_an_ipv6_default_route_the_box_has_ipv4_only(beside: Runner) -> None:
    with beside.lab.node.netlink() as link:
        link.route("del", dst="::/0", gateway="2a00:45::2")
    done = beside.run("--", "ip", "-6", "route", "show", "default")
    assert done.stdout == ""
    assert beside.reached("--mode", "allow-all", addresses=("1.1.1.1",)) == {"1.1.1.1"}


def test_a_resolver_on_loopback_is_replaced_inside(beside: Runner, tmp_path: Path) -> None:
    stub = tmp_path / "resolv.conf"
    stub.write_text("search a.test\nnameserver 127.0.0.53\n")
    mount = f'mount --bind {stub} /etc/resolv.conf && exec "$0" "$@"'
    command = beside.command("--", "cat", "/etc/resolv.conf")
    enter, rest = command[:4], command[4:]
    done = subprocess.run(
        [*enter, "unshare", "-m", "sh", "-c", mount, *rest],
        capture_output=True,
        text=True,
        env=beside.environment,
        timeout=30,
    )
    assert done.returncode == 0, done
    assert "127.0.0.53" not in done.stdout
    assert "search a.test\nnameserver " in done.stdout
    assert "/etc/resolv.conf names 127.0.0.53" in done.stderr
    assert stub.read_text() == "search a.test\nnameserver 127.0.0.53\n"
    beside.assert_nothing_left(box_of(done.stderr))


def test_runs_at_the_same_time_have_different_addresses(beside: Runner) -> None:
    show = ("--", "sh", "-c", "ip -br addr show dev eth0; sleep 1")
    runs = [
        subprocess.Popen(
            beside.command(*show), stdout=subprocess.PIPE, text=True, env=beside.environment
        )
        for _ in range(4)
    ]
    found = [run.communicate(timeout=40)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0, 0]
    assert len({text.split()[2] for text in found}) == 4
    beside.assert_nothing_left("")


@pytest.mark.parametrize("delay", [0.3, 0.5, 0.8, 1.1, 1.4])
def test_a_run_that_is_ended_while_it_is_set_up_leaves_nothing(alone: Runner, delay: float) -> None:
    with subprocess.Popen(
        alone.command("--", "sleep", "1000"),
        stderr=subprocess.PIPE,
        text=True,
        env=alone.environment,
    ) as run:
        time.sleep(delay)
        run.terminate()
        # The signal's own status: it came before anything was begun.
        assert run.wait(20) in (143, -signal.SIGTERM)
        assert run.stderr is not None
        said = run.stderr.read()
    assert "Traceback" not in said
    alone.assert_nothing_left(box_of(said))


def test_without_an_agent_a_run_has_its_own(alone: Runner) -> None:
    lists = ("--allow-cidr", "1.0.0.0/8", "--allow-cidr", "2600::/32")
    asked = ("1.1.1.1", "2.2.2.2", "2600::1", "2601::1")
    done = alone.run(*lists, "--", "python3", "-c", REACH, *asked)
    assert set(done.stdout.split()) == {"1.1.1.1", "2600::1"}
    assert done.returncode == 0
    assert "no agent answers on this node; this run has its own" in done.stderr
    assert "refused 2.2.2.2:7/tcp" in done.stderr


def test_a_killed_runner_with_its_own_agent_is_swept(alone: Runner) -> None:
    script = "sleep 1000 & echo $!; wait"
    with alone.started("--mode", "deny-all", "--", "sh", "-c", script) as run:
        record = run.record()
        assert len(record["private"]) == 2
        run.process.kill()
        run.process.wait()
    with inside(alone.lab.node.name), open_nftables() as nft:
        assert nft.table() is not None  # what is left of the command stays closed in
    done = alone.run("--", "true")
    assert f"removed what {record['box_id']} left" in done.stderr
    alone.assert_nothing_left(record["box_id"])
    assert list(pids_in(namespace_in(record))) == []
    for process in record["private"]:
        assert process_id(process["pid"]) is None


def test_rules_of_an_agent_that_is_down_are_not_taken_over(beside: Runner) -> None:
    assert beside.here is not None
    box = beside.here.box("b1", "--mode", "deny-all")
    beside.here.agent.signal(signal.SIGTERM)
    alone = {k: v for k, v in beside.environment.items() if k != "BOXWALL_SERVER"}
    done = subprocess.run(
        beside.command("--", "true"), capture_output=True, text=True, env=alone, timeout=30
    )
    assert done.returncode == 3, done
    assert f"its rules still police {box.interface_name}" in done.stderr
    with inside(beside.lab.node.name), open_nftables() as nft:
        assert nft.table() is not None


def test_an_agent_on_another_socket_is_not_disturbed(beside: Runner, tmp_path: Path) -> None:
    other = {k: v for k, v in beside.environment.items() if k != "BOXWALL_SERVER"}
    other["BOXWALL_AGENT_SOCKET"] = str(tmp_path / "other.sock")
    done = subprocess.run(
        beside.command("--", "true"), capture_output=True, text=True, env=other, timeout=30
    )
    assert done.returncode == 3, done
    assert "answers on another socket" in done.stderr
    assert beside.run("--", "true").returncode == 0


def test_a_server_that_was_named_is_not_replaced_by_a_private_one(alone: Runner) -> None:
    done = alone.run("--server", "localhost:1", "--", "true")
    assert done.returncode == 3
    assert "no agent answers" in done.stderr


def test_a_command_reaches_the_names_that_it_may_and_is_told_of_others(
    alone: Runner, tmp_path: Path
) -> None:
    names, web = NameServer(alone.lab.internet), Web(alone.lab.internet, tmp_path)
    try:
        names.zone = {"api.example.com": ["5.5.5.5"], "evil.example.net": ["5.5.5.5"]}
        alone.more = {"BOXWALL_DNS_UPSTREAM": RESOLVER}
        fetch = ("curl", "-sS", "--max-time", "20", "--cacert", str(web.authority))
        urls = ("https://api.example.com/", "http://api.example.com/", "https://evil.example.net/")

        done = alone.run("--allow-domain", "api.example.com", "--", *fetch, *urls)

        assert done.stdout == "this is api.example.com at 5.5.5.5\n" * 2
        assert done.returncode == 6, "the last could not be resolved"
        assert "evil.example.net" in done.stderr
        assert "NAME_NOT_ALLOWED" in done.stderr
        assert set(names.questions) == {"api.example.com"}
        assert web.names() == {"api.example.com"}
    finally:
        names.close()
        web.close()


def namespace_in(record: dict[str, Any]) -> Namespace:
    """The namespace of a run, as it was written down."""
    return Namespace(record["namespace"]["inode"], record["namespace"]["cookie"])


def on_terminal(runner: Runner, typed: str, *arguments: str) -> tuple[str, int]:
    """Run on a terminal of its own; type when the command has said "go"."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = runner.command(*arguments)
        os.execvpe(command[0], command, runner.environment)
    said, until, is_typed = b"", time.monotonic() + 30, False
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while time.monotonic() < until and (more := os.read(terminal, 4096)):
            said += more
            if b"go\r\n" in said and not is_typed:
                time.sleep(0.2)
                os.write(terminal, typed.encode())
                is_typed = True
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return said.decode(), os.waitstatus_to_exitcode(status)
