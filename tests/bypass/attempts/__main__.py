"""Make every attempt, in order; say of each when it is done."""

import contextlib
import json
import sys

from attempts import addresses, dns, inside, names, protocols
from attempts.catalogue import CATALOGUE, Surroundings, mark_of

PARTS = (addresses, protocols, dns, names, inside)


def main() -> None:
    """Its argument is the surroundings, as JSON."""
    surroundings = Surroundings.read(sys.argv[1])
    wanted = sys.argv[2:]
    for number, one in enumerate(CATALOGUE):
        if wanted and one.kind not in wanted:
            continue
        problem = ""
        with contextlib.suppress(OSError, StopIteration):
            one.run(surroundings, mark_of(number))
        made = {"kind": one.kind, "title": one.title, "mark": mark_of(number), "problem": problem}
        sys.stdout.write(json.dumps(made) + "\n")
        sys.stdout.flush()


main()
