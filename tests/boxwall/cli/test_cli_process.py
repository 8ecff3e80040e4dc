"""The command line as a process: statuses, signals, pipes, start-up."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Process = Callable[..., "subprocess.CompletedProcess[str]"]
ENTRY = [sys.executable, "-c", "from boxwall.cli.main import main; main()"]


def environ(**settings: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings}


def test_statuses_are_those_of_the_documentation(process: Process) -> None:
    assert process("box", "get", "hosted").returncode == 0
    assert process("box", "get", "nope").returncode == 1
    assert process("box", "gt").returncode == 2
    assert process("policy", "set", "lagging", "--mode", "deny-all").returncode == 4
    unreachable = process("box", "list", BOXWALL_SERVER="unix:/nowhere")
    assert unreachable.returncode == 3
    assert "is the control plane running? start one with: boxwall up" in unreachable.stderr
    assert "Traceback" not in unreachable.stderr


def test_ctrl_c_ends_a_watch_quietly(address: str) -> None:
    for arguments in (["box", "watch"], ["refusals", "--follow", "-o", "json"]):
        with subprocess.Popen(
            [*ENTRY, *arguments],
            env=environ(BOXWALL_SERVER=address, PYTHONUNBUFFERED="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            assert watch.stdout.readline()
            watch.send_signal(signal.SIGINT)
            assert watch.wait(timeout=10) == 130
            assert "Traceback" not in watch.stderr.read()


def test_a_watch_of_nobody_says_so_at_once(process: Process) -> None:
    assert process("box", "watch", BOXWALL_SERVER="unix:/nowhere").returncode == 3
    assert process("refusals", "-f", BOXWALL_SERVER="unix:/nowhere").returncode == 3
    assert process("refusals", "nope", "-f").returncode == 1


def test_a_stream_is_one_object_on_each_line(address: str) -> None:
    with subprocess.Popen(
        [*ENTRY, "box", "watch", "-o", "json"],
        env=environ(BOXWALL_SERVER=address),
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        assert watch.stdout is not None
        lines = [watch.stdout.readline() for _ in range(3)]
        watch.kill()

    assert [line[:12] for line in lines] == ['{"change": "'] * 3
    assert lines[2] == '{"change": "gone", "box_id": "b1"}\n'


def test_a_broken_pipe_is_quiet(address: str) -> None:
    # Both ways to meet it: a stream that goes on, and one answer larger than a pipe.
    for arguments in ("box watch", "--help"):
        done = subprocess.run(
            f"{shlex.join(ENTRY)} {arguments} | head -c 0",
            shell=True,
            env=environ(BOXWALL_SERVER=address),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stderr == ""


def test_what_is_not_needed_is_not_imported(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("mode: custom\nallowed_domains: [a.test]\n")
    script = (
        "import sys; from boxwall.cli.main import cli;"
        "cli(sys.argv[1:], standalone_mode=False, prog_name='boxwall');"
        "heavy = {'grpc', 'google.protobuf', 'rich', 'boxwall_server'} & set(sys.modules);"
        "print(sorted(heavy), file=sys.stderr)"
    )
    for arguments in (
        ["--help"],
        ["policy", "lint", str(policy)],
        ["policy", "check", "--policy", str(policy), "a.test"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=environ(),
            capture_output=True,
            text=True,
        )
        assert done.stderr.splitlines()[-1] == "[]"


def test_a_missing_extra_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['structlog'] = None;"
        "sys.argv = ['boxwall', 'server', '--listen', 'x'];"
        "from boxwall.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ(), capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "pip install 'boxwall[server]'" in done.stderr


def test_a_name_that_the_terminal_cannot_show_is_escaped(process: Process) -> None:
    done = process("box", "create", "--name", "東京", PYTHONIOENCODING="latin-1")

    assert done.returncode == 0, done.stderr
    assert "\\u6771\\u4eac" in done.stdout


def test_bytes_that_are_no_text_are_refused_without_a_traceback(address: str) -> None:
    done = subprocess.run(
        [*map(os.fsencode, ENTRY), b"box", b"get", b"\xff"],
        env=environ(BOXWALL_SERVER=address),
        capture_output=True,
    )

    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_a_terminal_gets_a_table_with_colour_and_nothing_from_the_server_acts_on_it(
    address: str,
) -> None:
    import pty

    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*ENTRY, "box", "list"],
        env=environ(BOXWALL_SERVER=address, TERM="xterm-256color", COLUMNS="200", NO_COLOR=""),
        stdout=theirs,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)

    assert done.returncode == 0
    assert "\x1b[32mENFORCED" in shown
    assert "\\x1b[31mred\\x1b]0;title\\x07\\u202e" in shown
    assert "\x1b]0" not in shown
