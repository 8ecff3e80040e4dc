"""`python -m bench [--quick] [--only NAME …]`: every question in turn, then one report."""

import argparse
import asyncio
import contextlib
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench import (
    agent_restart,
    beside_etcd,
    credentials,
    decide,
    dns,
    enforced,
    everything,
    fanout,
    forwarding,
    growth,
    kernel_apply,
    kernel_entries,
    memory,
    names,
    propagation,
    reads,
    reconnect,
    replicas,
    soak,
    startup,
    updates,
)
from bench.harness import Bench, Question
from bench.machine import describe
from bench.processes import Processes
from bench.report import Outcome, Run, must_be_quotable, quote, write

QUESTIONS: Sequence[Question] = (
    decide.QUESTION,
    updates.QUESTION,
    growth.QUESTION,
    fanout.QUESTION,
    beside_etcd.QUESTION,
    propagation.QUESTION,
    everything.QUESTION,
    reconnect.QUESTION,
    memory.QUESTION,
    startup.QUESTION,
    reads.QUESTION,
    replicas.QUESTION,
    kernel_apply.QUESTION,
    kernel_entries.QUESTION,
    enforced.QUESTION,
    forwarding.QUESTION,
    agent_restart.QUESTION,
    credentials.QUESTION,
    dns.QUESTION,
    names.QUESTION,
    soak.QUESTION,
)

HERE = Path(__file__).parent
PATIENCE = 4.0
"""A question that takes so many times as long as it should is given up."""


def main() -> int:
    """Run; the exit status says only whether the report was written."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, about two minutes")
    names = [question.name for question in QUESTIONS]
    parser.add_argument("--only", action="append", choices=names, help="ask only this (repeatable)")
    parser.add_argument("--directory", type=Path, help="where stores are put: a disk, not memory")
    parser.add_argument(
        "--output",
        type=Path,
        help="where the report is written: bench for a whole run, else bench/partial",
    )
    options = parser.parse_args()
    chosen = [q for q in QUESTIONS if not options.only or q.name in options.only]
    whole = not options.quick and len(chosen) == len(QUESTIONS)
    output = options.output or (HERE if whole else HERE / "partial")
    if whole and output == HERE:
        must_be_quotable(HERE)
    _raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="boxwall-bench-", dir=_disk(options)) as directory:
        run = asyncio.run(_run(chosen, quick=options.quick, directory=Path(directory)))
    output.mkdir(parents=True, exist_ok=True)
    write(run, output)
    if whole and output == HERE:
        quote(run, HERE)
    _say(f"wrote {output}/report.md and results.json ({_minutes(run)})")
    return 0


async def _run(chosen: Sequence[Question], *, quick: bool, directory: Path) -> Run:
    """Ask the questions one after the other. SIGTERM ends the run as SIGINT does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    machine = describe(directory)
    bench = Bench(quick, directory, Processes(directory), alone=len(chosen) == 1)
    expected = [question.seconds(bench) for question in chosen]
    _say(f"{len(chosen)} questions, about {sum(expected) / 60:.1f} minutes")
    outcomes = []
    for number, question in enumerate(chosen):
        left = sum(expected[number:])
        _say(
            f"[{number + 1}/{len(chosen)}] {question.name}: about {expected[number]:.0f} s; "
            f"all that is left, {left / 60:.1f} minutes"
        )
        outcomes.append(await _ask(question, bench, max(60.0, expected[number] * PATIENCE)))
    return Run(
        quick=quick,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        machine=machine,
        outcomes=outcomes,
        not_asked=[question.name for question in QUESTIONS if question not in chosen],
    )


async def _ask(question: Question, bench: Bench, patience: float) -> Outcome:
    """Ask one question. What goes wrong is its outcome: the others are asked all the same."""
    begin = time.monotonic()
    answers, failure = [], ""
    try:
        async with asyncio.timeout(patience), Processes(bench.directory) as bench.processes:
            answers = await question.ask(bench)
    except Exception as exc:  # noqa: BLE001  # whatever it is, the report says it
        traceback.print_exc()
        first = _first(exc)
        failure = _without_paths(f"{type(first).__name__}: {first}", bench.directory)
        _say(f"    not measured: {failure}")
    seconds = time.monotonic() - begin
    _say(f"    took {seconds:.0f} s")
    for answer in answers:
        if answer.left_out:
            _say(f"    {answer.title}: not measured here: {answer.left_out}")
        for row in answer.rows:
            verdict = f"  {row.verdict}" if row.verdict else ""
            ratio = f"  ratio {row.ratio.middle:.3g}" if row.ratio else ""
            _say(f"    {row.key}: {row.figure.middle:.4g} {row.unit}{ratio}{verdict}")
    return Outcome(name=question.name, answers=answers, seconds=seconds, failure=failure)


def _first(exc: BaseException) -> BaseException:
    """Return what went wrong first, of things that were done at once."""
    return _first(exc.exceptions[0]) if isinstance(exc, BaseExceptionGroup) else exc


def _without_paths(text: str, directory: Path) -> str:
    """Leave out where things are on this machine: it says nothing to a reader."""
    return re.sub(r"(?<![\w.])/[\w./+-]+", "…", text.replace(str(directory), "…"))[:500]


def _disk(options: argparse.Namespace) -> Path | None:
    """Return where stores go: /tmp is often memory, where a sync costs nothing."""
    if options.directory is not None:
        return Path(options.directory)
    disk = Path("/var/tmp")
    return disk if disk.is_dir() else None


def _raise_file_limit() -> None:
    """Thousands of streams need descriptors, in children too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _minutes(run: Run) -> str:
    return f"{sum(outcome.seconds for outcome in run.outcomes) / 60:.1f} minutes"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
