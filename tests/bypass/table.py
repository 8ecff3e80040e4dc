"""What was attempted and what leaked, by class and policy. Pure."""

from collections import Counter
from collections.abc import Sequence

from attempts.catalogue import Bar
from world import Made


def table(made: Sequence[Made]) -> str:
    """A line for each class: leaked of attempted, under each policy and in all."""
    attempts = [one for one in made if one.attempt.bar is not Bar.NOTHING]
    controls = [one for one in made if one.attempt.bar is Bar.NOTHING]
    forms = list(dict.fromkeys(one.form for one in made))
    kinds = list(dict.fromkeys(one.attempt.kind for one in attempts))
    head = f"{'class':<12}" + "".join(f"{form:>12}" for form in forms)
    lines = [f"{head}{'attempts':>10}{'leaked':>8}"]
    for kind in (*kinds, "all"):
        of_kind = [one for one in attempts if kind in (one.attempt.kind, "all")]
        total = Counter(one.form for one in of_kind)
        leaked = Counter(one.form for one in of_kind if one.is_leak)
        cells = "".join(f"{f'{leaked[form]}/{total[form]}':>12}" for form in forms)
        lines.append(f"{kind:<12}{cells}{total.total():>10}{leaked.total():>8}")
    arrived = sum(not one.is_lost for one in controls)
    known = sum(one.is_known for one in made)
    problems = sum(bool(one.problem) for one in made)
    lines.append(f"of those that leaked, known limits: {known}")
    lines.append(f"controls that arrived: {arrived} of {len(controls)}")
    lines.append(f"attempts that could not be made: {problems}")
    return "\n".join(("", *lines))
