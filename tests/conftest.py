"""What every test shares: the same Hypothesis examples on every run, a reason for each test that
cannot run here, and a failure when nothing ran at all in continuous integration."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The shared checkers assert: show their operands as in a test.
pytest.register_assert_rewrite("fakes", "guarantees")

from fakes.postgres_server import PostgresServer, why_no_postgres  # noqa: E402  # see above

POSTGRES_LACK = "no PostgreSQL"

# No deadline: a loaded machine is not a bug. To search for new examples:
# pytest --hypothesis-profile=explore
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=5_000)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kernel-examples",
        type=int,
        default=40,
        help="policies that the kernel and `decide` must agree on",
    )
    parser.addoption(
        "--names", type=int, default=100, help="names never resolved before that curl must reach"
    )
    parser.addoption(
        "--kills", type=int, default=5, help="how often each program is ended under traffic"
    )
    parser.addoption(
        "--storm", type=float, default=15, help="seconds of writes while servers are killed"
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL, in which each test makes databases of its own."""
    lack = why_no_postgres()
    if lack:
        pytest.skip(f"{POSTGRES_LACK}: {lack}")
    server = PostgresServer("fsync=off", "full_page_writes=off")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may kill: it writes to disk as it does in earnest."""
    lack = why_no_postgres()
    if lack:
        pytest.skip(f"{POSTGRES_LACK}: {lack}")
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lack = _why_no_lab()
    if lack:
        skip = pytest.mark.skip(reason=lack)
        for item in items:
            if item.get_closest_marker("root") or _LAB in item.path.parents:
                item.add_marker(skip)


_LAB = Path(__file__).parent / "lab"


def _why_no_lab() -> str:
    """Why tests that make namespaces and nftables rules cannot run here. Empty: they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux: it makes namespaces and nftables rules"
    missing = [program for program in ("ip", "nft", "setpriv") if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)}; tools/test-packages.sh installs them on Debian"
    return ""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration a run that skipped everything is a failure, not a success."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    if not reporter.stats.get("passed"):
        session.exitstatus = session.exitstatus or pytest.ExitCode.NO_TESTS_COLLECTED
    skipped = [report.nodeid for report in reporter.stats.get("skipped", ())]
    in_namespaces = ("tests/lab/", "tests/bypass/")
    if os.geteuid() == 0 and any(nodeid.startswith(in_namespaces) for nodeid in skipped):
        reporter.write_line("root skipped tests in namespaces: that is a failure here", red=True)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    reasons = [str(report.longrepr) for report in reporter.stats.get("skipped", ())]
    if os.geteuid() == 0 and any(POSTGRES_LACK in reason for reason in reasons):
        reporter.write_line("root skipped tests of PostgreSQL: that is a failure here", red=True)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
