"""What hot paths cost now, what they may cost, and what of it is out of bounds."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from budget.enforcing import applying, verdicts
from budget.spreading import routing, watching
from budget.writing import updates

FILE: Final = Path(__file__).with_name("budget.json")

MORE: Final = 1.08
LESS: Final = 0.7
"""Of calls, for libraries and Pythons of other versions. All else is exact."""

RENEW: Final = "meant? `make budget`, and say in the commit what it buys"


def measured() -> dict[str, float]:
    """Count every operation that has a budget."""
    return {
        **verdicts(10),
        **verdicts(1_000),
        **asyncio.run(updates()),
        **asyncio.run(routing(10)),
        **asyncio.run(routing(1_000)),
        **asyncio.run(watching(1)),
        **asyncio.run(watching(500)),
        **applying(10),
        **applying(1_000),
    }


def budget() -> dict[str, float]:
    """Return what is allowed."""
    allowed: dict[str, float] = json.loads(FILE.read_text())
    return allowed


def renew(now: Mapping[str, float]) -> None:
    """Allow what is so now."""
    allowed = {name: round(count, 2) for name, count in now.items()}
    FILE.write_text(json.dumps(allowed, indent=2) + "\n")


def differences(now: Mapping[str, float], allowed: Mapping[str, float]) -> Iterator[str]:
    """Yield what costs more than it may, or so much less that the budget guards nothing."""
    for name in sorted(now.keys() | allowed.keys()):
        if name not in allowed:
            yield f"{name}: {now[name]:.6g}, and no budget"
        elif name not in now:
            yield f"{name}: a budget of {allowed[name]:.6g}, and nothing measures it"
        elif verdict := _out_of_bounds(name, now[name], allowed[name]):
            yield f"{name}: {allowed[name]:.6g} -> {now[name]:.6g}, {verdict}"


def _out_of_bounds(name: str, now: float, allowed: float) -> str:
    is_rough = "calls" in name.rpartition(": ")[2].split()
    if now > (allowed * MORE if is_rough else allowed + 0.005):
        return f"dearer by {now / allowed - 1:.0%}" if allowed else "was free"
    if now < (allowed * LESS if is_rough else allowed - 0.005):
        return "cheaper: renew the budget, so that it stays so"
    return ""
