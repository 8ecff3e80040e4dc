"""The checks of doctor that read text."""

from pathlib import Path

import pytest

from boxwall.cli.doctor import (
    changes_sets_safely,
    effective_capabilities,
    kernel_version,
    nf_tables_files,
)


@pytest.mark.parametrize(
    ("release", "version", "is_safe"),
    [
        pytest.param("6.8.0-45-generic", (6, 8, 0), False, id="before the fix"),
        pytest.param("6.12.47", (6, 12, 47), False, id="just before the fix"),
        pytest.param("6.12.48+deb13", (6, 12, 48), True, id="fixed long-term kernel"),
        pytest.param("6.14.2", (6, 14, 2), False, id="between the fixes"),
        pytest.param("6.17.0", (6, 17, 0), True, id="fixed"),
        pytest.param("7.1", (7, 1, 0), True, id="newer"),
        pytest.param("nonsense", (0, 0, 0), False, id="nonsense"),
    ],
)
def test_a_kernel_is_judged_by_its_release(
    release: str, version: tuple[int, int, int], is_safe: bool
) -> None:
    assert kernel_version(release) == version
    assert changes_sets_safely(version) is is_safe


def test_capabilities_are_read() -> None:
    status = "Name:\tx\nCapEff:\t0000000000003000\n"

    assert effective_capabilities(status) == 1 << 12 | 1 << 13
    assert effective_capabilities("Name:\tx\n") == 0


@pytest.mark.parametrize(
    ("file", "text", "state"),
    [
        pytest.param("sys/module/nf_tables/refcnt", "1", "loaded", id="loaded"),
        pytest.param(
            "lib/modules/r/modules.builtin",
            "kernel/net/netfilter/nf_tables.ko\n",
            "built in",
            id="in",
        ),
        pytest.param(
            "lib/modules/r/modules.dep",
            "kernel/net/netfilter/nf_tables.ko.xz: x\n",
            "a module that can be loaded",
            id="module",
        ),
        pytest.param("other", "", "not found", id="nothing"),
    ],
)
def test_nf_tables_is_looked_for_in_files(file: str, text: str, state: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

    assert nf_tables_files("r", tmp_path) == state
