"""From answers to report.md and results.json. Pure, but for `write`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.answers import Answer, Row
from bench.figures import Spread, human

LATER = ("beside etcd",)
"""What this version cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one question."""

    name: str
    answers: Sequence[Answer]
    seconds: float
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything the report says."""

    quick: bool
    date: str
    machine: Mapping[str, str]
    outcomes: Sequence[Outcome]


def write(run: Run, directory: Path) -> None:
    """Write report.md, results.json and the plots."""
    (directory / "report.md").write_text(report(run))
    (directory / "results.json").write_text(json.dumps(results(run), indent=2) + "\n")
    for outcome in run.outcomes:
        for answer in outcome.answers:
            for plot in answer.plots:
                (directory / plot.file).write_text(plot.svg)


def results(run: Run) -> dict[str, dict[str, object]]:
    """Return one flat map from question to figures. A question that failed has no figure."""
    found: dict[str, dict[str, object]] = {}
    for outcome in run.outcomes:
        if outcome.failure:
            found[outcome.name] = _entry(None, "not measured", None, None, None, None)
        for row in _rows(outcome):
            found[row.key] = _entry(
                row.figure.middle,
                row.unit,
                row.beside.middle if row.beside else None,
                row.ratio.middle if row.ratio else None,
                row.target.text if row.target else None,
                row.met,
            )
    return found


def report(run: Run) -> str:
    """Return the whole report."""
    scale = "quick: smaller sizes, shorter rounds" if run.quick else "full"
    command = "make bench-quick" if run.quick else "make bench"
    parts = [
        "# How fast it is",
        f"Written by `{command}` ({scale}) on {run.date}. Figures are medians of rounds with "
        "the least and the greatest in brackets; ratios are taken round by round, the two sides "
        "measured in turn (A B A B). A ratio is Boxwall's figure over the one beside, unless "
        "a section says otherwise. Machines are shared and noisy: trust ratios before figures.",
        _machine(run.machine),
        "## Targets",
        _targets(run),
    ]
    for outcome in run.outcomes:
        parts += [_failed(outcome)] if outcome.failure else []
        parts += [_section(answer) for answer in outcome.answers]
    parts += ["## Not in this report yet", "\n".join(f"- {line}" for line in LATER)]
    return "\n\n".join(parts) + "\n"


def _entry(
    figure: float | None,
    unit: str,
    beside: float | None,
    ratio: float | None,
    target: str | None,
    met: bool | None,
) -> dict[str, object]:
    return {
        "figure": _rounded(figure),
        "unit": unit,
        "beside": _rounded(beside),
        "ratio": _rounded(ratio),
        "target": target,
        "met": met,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _rows(outcome: Outcome) -> list[Row]:
    return [row for answer in outcome.answers for row in answer.rows]


def _machine(machine: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in machine.items())])


def _targets(run: Run) -> str:
    lines = ["| question | figure | ratio | target | |", "|---|---|---|---|---|"]
    for outcome in run.outcomes:
        if outcome.failure:
            lines.append(f"| {outcome.name} | not measured | | | **set-up failed** |")
        for row in _rows(outcome):
            if row.target is not None:
                ratio = human(row.ratio.middle) if row.ratio else ""
                figure = f"{human(row.figure.middle)} {row.unit}"
                verdict = row.verdict if row.met is not False else f"**{row.verdict}**"
                lines.append(f"| {row.key} | {figure} | {ratio} | {row.target.text} | {verdict} |")
    return "\n".join(lines)


def _failed(outcome: Outcome) -> str:
    return (
        f"## {outcome.name}: not measured\n\nIt could not be measured, or not to the end, and "
        f"nothing of it is reported: {outcome.failure}"
    )


def _section(answer: Answer) -> str:
    beside = answer.beside or "nothing"
    parts = [f"## {answer.title}", answer.what, f"Beside: {beside}", _table(answer)]
    if answer.growth:
        parts.append("\n".join(f"- Growth of {growth.text}." for growth in answer.growth))
    if answer.remarks:
        parts.append("\n".join(f"- {remark}" for remark in answer.remarks))
    parts += [f"![{plot.caption}]({plot.file})" for plot in answer.plots]
    return "\n\n".join(parts)


def _table(answer: Answer) -> str:
    lines = ["| what | Boxwall | beside | ratio | target | |", "|---|---|---|---|---|---|"]
    for row in answer.rows:
        cells = [
            row.size_text,
            f"{_spread(row.figure)} {row.unit}",
            _spread(row.beside),
            _spread(row.ratio),
            row.target.text if row.target else "",
            "; ".join(filter(None, (row.verdict, row.note))),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.low == spread.high:
        return human(spread.middle)
    return f"{human(spread.middle)} ({human(spread.low)} to {human(spread.high)})"
