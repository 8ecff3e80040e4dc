"""`make demo`: it comes to a good end, it says so in lines, and nothing is left of it."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from demo.__main__ import INTERRUPTED
from demo.story import API, CDN, STORY, TARGETS
from fakes.server_process import ROOT, environment

COMMAND = [sys.executable, "-m", "demo", "--pause", "0"]
ENVIRONMENT = environment()
ENVIRONMENT["PYTHONPATH"] += f":{ROOT / 'tests'}"

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(120)]


def namespaces(pid: int) -> list[str]:
    """Those that a demonstration has made and not removed."""
    folder = Path("/var/run/netns")
    return [one.name for one in folder.glob(f"bw{pid}-*")] if folder.exists() else []


def test_everything_comes_as_it_has_to_and_is_told_in_lines() -> None:
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        said, errors = process.communicate(timeout=100)

    assert (process.returncode, errors) == (0, ""), said
    assert namespaces(process.pid) == []
    parts = re.split(r"^policy \d of \d, ", said, flags=re.MULTILINE)[1:]
    assert [part.partition(" (revision")[0] for part in parts] == [one.title for one in STORY]
    for part, step in zip(parts, STORY, strict=True):
        for target, reason in zip(TARGETS, step.reasons, strict=True):
            expected = r"reached in [0-9.]+ ms" if reason is None else rf"refused +{reason.value}\b"
            line = rf"^  {re.escape(target.text)} +{expected}"
            assert len(re.findall(line, part, re.MULTILINE)) == 1, (line, part)
        for name in step.stops:
            stopped = (
                rf"download of {name} +stopped +its last byte came ([0-9.]+) ms (after|before)"
            )
            found = re.search(stopped, part)
            assert found is not None, part
            assert found[2] == "before" or float(found[1]) < 100
    kept = [part for part in parts if re.search(rf"download of {CDN} +goes on", part)]
    cut = [part for part in kept if f"download of {API}" in part and "stopped" in part]
    assert len(cut) == 1, "one goes on over the change that cuts the other"
    assert said.endswith("everything came as it has to\n")


def test_on_a_terminal_the_tables_are_drawn_and_the_cursor_comes_back() -> None:
    said, status = on_a_terminal()

    assert status == 0, said
    for step in STORY:
        assert step.title in said
    assert "everything came as it has to" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


@pytest.mark.parametrize("moment", ["policy 1 of 6", "policy 3 of 6", ""], ids=str)
def test_an_interrupted_one_leaves_nothing(moment: str) -> None:
    """As by Ctrl-C: everything that runs in the foreground gets the signal."""
    with subprocess.Popen(
        COMMAND,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        if moment:
            while moment not in process.stdout.readline():
                assert process.poll() is None
        else:
            while not namespaces(process.pid):
                assert process.poll() is None
                time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == INTERRUPTED, errors
    assert errors == "interrupted; everything was removed\n"
    assert namespaces(process.pid) == []


def test_whoever_may_not_is_told_what_it_needs() -> None:
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c"]
    done = subprocess.run(
        [*nobody, "import sys; from demo.__main__ import main; sys.exit(main())"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=30,
    )

    assert done.returncode == 2
    assert "needs root on Linux" in done.stderr


def on_a_terminal() -> tuple[str, int]:
    """Run it on a terminal; return what came, and the exit status."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    environ = {**ENVIRONMENT, "TERM": "xterm-256color"}
    with subprocess.Popen(COMMAND, stdin=slave, stdout=slave, stderr=slave, env=environ) as process:
        os.close(slave)
        said = b""
        try:
            while select.select([master], [], [], 60)[0]:
                said += os.read(master, 65536)
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(master)
    return said.decode(), process.returncode
