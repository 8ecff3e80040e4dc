"""The command line against a fake control plane in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boxwall.cli.main import cli

FAKE = Path(__file__).parents[1] / "sdk" / "fake_service.py"
PYTHONPATH = os.pathsep.join(sys.path)

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("cli") / "s"
    with subprocess.Popen(
        [sys.executable, str(FAKE), str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    ) as fake:
        assert fake.stdout is not None
        assert fake.stdout.readline() == "ready\n"
        yield f"unix:{path}"
        fake.kill()


@pytest.fixture
def run(address: str) -> Run:
    """Run one command line; BOXWALL_SERVER is the fake, unless `env` says otherwise."""

    def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        clean = {key: None for key in os.environ if key.startswith("BOXWALL_")}
        settings = {**clean, "BOXWALL_SERVER": address, **(env or {})}
        return CliRunner().invoke(cli, arguments, input=stdin, env=settings, prog_name="boxwall")

    return run


@pytest.fixture
def process(address: str) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run one command line as a process."""

    def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from boxwall.cli.main import main; main()", *arguments],
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "BOXWALL_SERVER": address, **env},
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run
