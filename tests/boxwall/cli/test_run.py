"""`boxwall run` before anything is made: what is refused, and with which status."""

import os
import subprocess
import sys
from typing import NoReturn

import pytest

from boxwall.sdk.errors import Conflict, Unavailable

from .conftest import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is root, as far as the command can see."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """What would be run fails."""

    def fail(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr("boxwall.cli.run._run", fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Conflict("closed", reason="NOT_IN_FORCE"), 4),
        (Conflict("taken", reason="CANNOT_ATTACH"), 1),
        (Unavailable("nobody"), 3),
    ],
)
def test_statuses_are_those_of_the_documentation(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    failing(monkeypatch, error)
    done = run("run", "--", "true")
    assert done.exit_code == status
    assert str(error) in done.output


def test_others_than_root_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = run("run", "true")
    assert done.exit_code == 1
    assert "needs root" in done.output
    assert "sudo" in done.output


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "COMMAND"),
        (("--mode", "no", "true"), 2, "deny-all"),
        (("--policy", "/nowhere", "true"), 2, "cannot be read"),
        (("--policy", "-", "--mode", "deny-all", "true"), 2, "as FILE or with"),
        (("--allow-domain", "*foo.com", "true"), 1, "*foo.com"),
        (("--mode", "deny-all", "--allow-cidr", "1.1.1.1", "true"), 1, "deny-all"),
        (("--", "no-such-program"), 127, "no program 'no-such-program'"),
        (("-o", "json", "no-such-program"), 127, '"error": "CannotRun"'),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, said: str
) -> None:
    failing(monkeypatch, AssertionError("nothing is made"))
    done = run("run", *arguments)
    assert done.exit_code == status, done.output
    assert said in done.output


def test_options_after_the_command_are_the_commands(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def note(*given: object) -> int:
        seen.extend(given[2:])
        return 9

    monkeypatch.setattr("boxwall.cli.run._run", note)
    done = run("run", "--mode", "deny-all", "ls", "-l", "--mode", "x")
    assert done.exit_code == 9, done.output
    assert seen == [("ls", "-l", "--mode", "x"), {"mode": "deny-all"}]


def test_what_starts_processes_is_imported_without_grpc() -> None:
    script = (
        "import sys, boxwall.cli.run, boxwall_agent.sandbox.private; "
        "sys.exit('grpc' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environ, check=True, timeout=30)
