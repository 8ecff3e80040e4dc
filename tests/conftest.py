"""What every test shares: the same Hypothesis examples on every run, a reason for each test that
cannot run here, and a failure when nothing ran at all in continuous integration."""

import os

import pytest
from hypothesis import settings

# The shared checkers assert: show their operands as in a test.
pytest.register_assert_rewrite("fakes", "guarantees")

# No deadline: a loaded machine is not a bug. To search for new examples:
# pytest --hypothesis-profile=explore
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=5_000)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root: it makes namespaces and nftables rules")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(needs_root)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration a run that skipped everything is a failure, not a success."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter is not None and not reporter.stats.get("passed"):
        session.exitstatus = session.exitstatus or pytest.ExitCode.NO_TESTS_COLLECTED
