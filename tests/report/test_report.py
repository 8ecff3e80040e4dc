"""What a report says of itself: what is missing, how costs grow, plots that can be read."""

from xml.etree import ElementTree

import pytest

from bench import promises, svg
from bench.__main__ import QUESTIONS
from bench.answers import Answer, Growth, Row
from bench.figures import Spread
from bench.report import Outcome, Run, missing, report


def _row(key: str) -> Row:
    return Row(key=key, size=1, size_text=key, figure=Spread(1, 1, 1), unit="ms")


def _run(*outcomes: Outcome, quick: bool = False, not_asked: tuple[str, ...] = ()) -> Run:
    return Run(quick=quick, date="2026-01-01", machine={}, outcomes=outcomes, not_asked=not_asked)


def _outcome(name: str, *answers: Answer, failure: str = "") -> Outcome:
    return Outcome(name=name, answers=answers, seconds=1.0, failure=failure)


EVERY_FANOUT = [_row(p.key) for p in promises.PROMISES if p.question == "fanout"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        pytest.param(
            _run(_outcome("fanout", Answer(title="Fan-out", what="", rows=EVERY_FANOUT))),
            ["Nothing: whatever was promised has its figure above."],
            id="all is there",
        ),
        pytest.param(
            _run(not_asked=("dns", "names")), ["Not asked in this run: dns, names."], id="not asked"
        ),
        pytest.param(_run(_outcome("fanout", failure="boom")), ["fanout: it failed."], id="failed"),
        pytest.param(
            _run(_outcome("fanout", Answer(title="Fan-out", what="", left_out="it needs root"))),
            ["Fan-out: it needs root."],
            id="the machine cannot",
        ),
        pytest.param(
            _run(_outcome("fanout", Answer(title="Fan-out", what="", rows=EVERY_FANOUT[:1]))),
            ["fan-out to 5,000 watchers (fanout_5000_watchers): it was not measured."],
            id="a size is missing",
        ),
        pytest.param(
            _run(
                _outcome("fanout", Answer(title="Fan-out", what="", rows=EVERY_FANOUT[:1])),
                quick=True,
            ),
            ["fan-out to 5,000 watchers (fanout_5000_watchers): a quick run has smaller sizes."],
            id="a quick run",
        ),
    ],
)
def test_a_report_says_what_it_lacks(run: Run, said: list[str]) -> None:
    assert missing(run) == said
    assert "\n".join(f"- {line}" for line in said) in report(run)


def test_every_promise_is_one_of_a_question() -> None:
    assert {promise.question for promise in promises.PROMISES} <= {q.name for q in QUESTIONS}


def test_a_quick_run_is_planned_for_two_minutes_and_a_whole_one_for_thirty_five() -> None:
    assert sum(question.seconds_quick for question in QUESTIONS) < 120
    assert sum(question.seconds_full for question in QUESTIONS) < 35 * 60


def test_a_cost_that_outgrows_its_size_is_marked() -> None:
    growth = [
        Growth(what="calm", sizes=(1, 10, 100), costs=(1, 10, 100)),
        Growth(what="wild", sizes=(1, 10, 100), costs=(1, 100, 10_000)),
    ]
    text = report(_run(_outcome("one", Answer(title="One", what="", growth=growth))))
    assert "| One | calm | 1 to 100 | 1.00 |  |" in text
    assert "| One | wild | 1 to 100 | 2.00 | **faster than the size** |" in text


@pytest.mark.parametrize(
    ("theme", "colours"),
    [
        pytest.param(svg.LIGHT, svg.COLOURS, id="on a light page"),
        pytest.param(svg.DARK, svg.COLOURS_DARK, id="on a dark page"),
    ],
)
def test_plots_can_be_read(theme: dict[str, str], colours: tuple[str, ...]) -> None:
    assert _contrast(theme["text"], theme["back"]) > 7
    for colour in (*colours, theme["axis"]):
        assert _contrast(colour, theme["back"]) > 3


@pytest.mark.parametrize("count", [1, 4, 8, 12])
def test_a_legend_stays_within_the_picture(count: int) -> None:
    name = "in the cache, in another case each time"
    lines = [svg.Series(f"{name} {n}", [(1, n + 1), (10, n + 1)]) for n in range(count)]
    root = ElementTree.fromstring(svg.growth_plot("a < b", "x", "y", lines))
    width, height = (float(one) for one in root.attrib["viewBox"].split()[2:])
    texts = [one for one in root if one.tag.endswith("text")]
    assert any(one.text == "a < b" for one in texts)
    for one in texts:
        assert float(one.attrib["y"]) < height
        if (one.text or "").startswith(name):
            assert float(one.attrib["x"]) + svg.LETTER * len(one.text or "") < width


def _contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
