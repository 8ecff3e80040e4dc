"""The documents quote what bench/results.json says, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.quoted import (
    BEGIN,
    END,
    Results,
    missed_block,
    quoted,
    ratios_svg,
    readme_block,
    renewed,
)

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def committed() -> Results:
    found: Results = json.loads((ROOT / "bench/results.json").read_text())
    return found


@pytest.mark.parametrize(
    ("document", "block"),
    [
        pytest.param("README.md", readme_block, id="the README"),
        pytest.param("docs/performance.md", missed_block, id="the page on performance"),
    ],
)
def test_a_document_quotes_the_committed_figures(
    document: str, block: Callable[[Results], str], committed: Results
) -> None:
    assert quoted((ROOT / document).read_text()) == block(committed)


def test_the_plot_of_the_readme_is_of_the_committed_figures(committed: Results) -> None:
    assert (ROOT / "bench/ratios.svg").read_text() == ratios_svg(committed)


def test_what_stands_around_the_figures_is_left_alone() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert renewed(text, "new \\1\n") == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("nothing", id="no markers"),
        pytest.param(f"{BEGIN}\na\n{END}\n{BEGIN}\nb\n{END}\n", id="two places"),
    ],
)
def test_a_document_without_one_place_for_figures_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="between markers"):
        renewed(text, "new\n")
    with pytest.raises(ValueError, match="between markers"):
        quoted(text)


def _entry(
    figure: float, ratio: float | None, target: str | None = None, met: bool | None = None
) -> dict[str, object]:
    beside = None if ratio is None else figure / ratio
    return {
        "figure": figure,
        "unit": "ms",
        "beside": beside,
        "ratio": ratio,
        "target": target,
        "met": met,
    }


def test_a_figure_that_was_not_measured_is_not_quoted() -> None:
    block = readme_block({"fanout_5000_watchers": _entry(200.0, 0.9)})
    assert "raw stream writes" in block
    assert "dnsmasq" not in block


def test_a_ratio_of_times_is_quoted_as_one_of_speeds() -> None:
    assert "| 0.500 |" in readme_block({"change_all_5000_boxes": _entry(4.0, 2.0)})


def test_what_stands_in_another_row_is_beside_it_too() -> None:
    found = {
        "tls_download_by_name_100_boxes_100_domains": _entry(900.0, None),
        "tls_download_proxy_100_boxes_100_domains": _entry(450.0, None),
    }
    assert "| 900 ms | an SNI proxy: 450 | 2.00 |" in readme_block(found)


def test_a_missed_promise_is_called_missed() -> None:
    late = _entry(6.0, None, "figure <= 5", met=False)
    assert "| <= 5 ms: missed |" in readme_block({"enforced_idle_p50_1000_boxes": late})
    block = missed_block(
        {"late": late, "early": _entry(1.0, None, "figure <= 5", met=True), "any": _entry(1, None)}
    )
    assert "1 of 2 targets are met. Not met:" in block
    assert "| late | 6.00 ms |" in block
    assert "early" not in block
