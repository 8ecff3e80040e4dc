"""From answers to report.md and results.json. Pure, but for `write`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.answers import Answer, Growth, Row
from bench.figures import Spread, human
from bench.promises import PROMISES
from bench.quoted import missed_block, quoted, ratios_svg, readme_block, renewed

FASTER = 1.1
"""A cost with an exponent above this grows faster than the size."""


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
    not_asked: Sequence[str] = ()
    """Questions that there are, and that this run was not to ask."""


def write(run: Run, directory: Path) -> None:
    """Write report.md, results.json and the plots, in the directory."""
    (directory / "report.md").write_text(report(run))
    (directory / "results.json").write_text(json.dumps(results(run), indent=2) + "\n")
    for outcome in run.outcomes:
        for answer in outcome.answers:
            for plot in answer.plots:
                (directory / plot.file).write_text(plot.svg)


DOCUMENTS = {"README.md": readme_block, "docs/performance.md": missed_block}
"""What quotes a whole run, and which of its figures."""


def must_be_quotable(bench: Path) -> None:
    """Raise ValueError now if a document has no place for figures, and not after half an hour."""
    for path in DOCUMENTS:
        quoted((bench.parent / path).read_text())


def quote(run: Run, bench: Path) -> None:
    """Renew what documents quote of a whole run, and the plot of it."""
    found = json.loads(json.dumps(results(run)))
    for path, block in DOCUMENTS.items():
        document = bench.parent / path
        document.write_text(renewed(document.read_text(), block(found)))
    (bench / "ratios.svg").write_text(ratios_svg(found))


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
        "## How costs grow",
        _growth(run),
    ]
    for outcome in run.outcomes:
        parts += [_failed(outcome)] if outcome.failure else []
        parts += [_section(answer) for answer in outcome.answers]
    parts += ["## Not in this report", "\n".join(f"- {line}" for line in missing(run))]
    return "\n\n".join(parts) + "\n"


def missing(run: Run) -> list[str]:
    """Say what a reader could expect here and does not find, and why."""
    found = results(run)
    lines = [f"Not asked in this run: {', '.join(run.not_asked)}."] if run.not_asked else []
    for outcome in run.outcomes:
        if outcome.failure:
            lines.append(f"{outcome.name}: it failed.")
        lines += [f"{one.title}: {one.left_out}." for one in outcome.answers if one.left_out]
    asked = {outcome.name: outcome for outcome in run.outcomes}
    for promise in PROMISES:
        its = asked.get(promise.question)
        if its is None or its.failure or promise.key in found:
            continue
        if not any(answer.left_out for answer in its.answers):
            why = "a quick run has smaller sizes" if run.quick else "it was not measured"
            lines.append(f"{promise.text} ({promise.key}): {why}.")
    return lines or ["Nothing: whatever was promised has its figure above."]


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
    return None if value is None else float(f"{value:.6g}")


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


def _growth(run: Run) -> str:
    head = (
        "Fitted over all sizes of a table: cost = a * size ** exponent. 0: it does not grow; 1: it "
        f"grows as the size does. Above {FASTER} it grows faster than its work."
    )
    lines = ["| table | what | sizes | exponent | |", "|---|---|---|---|---|"]
    for answer, growth in _growths(run):
        verdict = "**faster than the size**" if growth.exponent > FASTER else ""
        cells = answer.title, growth.what, growth.between, f"{growth.exponent:.2f}", verdict
        lines.append(f"| {' | '.join(cells)} |")
    return head + "\n\n" + "\n".join(lines)


def _growths(run: Run) -> Iterator[tuple[Answer, Growth]]:
    for outcome in run.outcomes:
        for answer in outcome.answers:
            for growth in answer.growth:
                yield answer, growth


def _failed(outcome: Outcome) -> str:
    return (
        f"## {outcome.name}: not measured\n\nIt could not be measured, or not to the end, and "
        f"nothing of it is reported: {outcome.failure}"
    )


def _section(answer: Answer) -> str:
    beside = answer.beside or "nothing"
    parts = [f"## {answer.title}", answer.what, f"Beside: {beside}"]
    if answer.left_out:
        parts.append(f"Not measured here: {answer.left_out}.")
    if answer.rows:
        parts.append(_table(answer))
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
