"""Processes and namespaces are not mistaken for others."""

import os
import signal
import subprocess

import pytest

from boxwall_agent.sandbox.processes import (
    Namespace,
    ProcessId,
    end_all_in,
    end_process,
    namespace_of,
    pids_in,
    process_id,
    this_process,
)


def test_a_process_is_its_number_and_its_start() -> None:
    this = this_process()
    assert this.pid == os.getpid()
    assert this.is_alive
    assert not ProcessId(this.pid, this.start + 1).is_alive


def test_a_process_that_has_ended_is_not_alive_though_nobody_has_waited_for_it() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_id(process.pid) is None


def test_the_name_of_a_process_may_hold_anything() -> None:
    script = "printf 'a) R (b' > /proc/self/comm; echo; cat"
    shell = ["bash", "-c", script]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = process_id(process.pid)
        assert found is not None
        assert found.start > 1
        process.kill()


def test_another_process_under_the_same_number_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "100"]) as process:
        found = process_id(process.pid)
        assert found is not None
        assert end_process(ProcessId(found.pid, found.start - 1))
        assert process.poll() is None
        assert end_process(found)
        assert process.wait() == -signal.SIGTERM


@pytest.mark.root
def test_all_of_a_namespace_end_and_nobody_else() -> None:
    script = "trap '' TERM; sleep 100 & echo; wait"
    command = ["unshare", "-n", "sh", "-c", script]
    with (
        subprocess.Popen(["sleep", "100"]) as other,
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        namespace = namespace_of(process.pid)
        assert namespace is not None
        assert namespace != namespace_of(os.getpid())
        assert len(list(pids_in(namespace))) == 2
        reused = Namespace(namespace.inode, namespace.cookie + 1)
        assert end_all_in(reused) == []
        assert process.poll() is None
        assert end_all_in(namespace) == []
        assert process.wait() == -signal.SIGKILL
        assert other.poll() is None
        other.kill()
