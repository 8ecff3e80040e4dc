"""`make bypass`: what gets out of a box, attempt by attempt, and a table of all classes.

make bypass ARGS="--behind nothing"      nothing in the box's way, for comparison
make bypass ARGS="--behind 'COMMAND'"    what a command sets up in the node's namespace
"""

import sys
from collections import Counter
from pathlib import Path

import click

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from world import World  # noqa: E402  # the path is set before


@click.command()
@click.option("--behind", default="boxwall", show_default=True, help="boxwall, nothing, COMMAND")
@click.option("--verbose", is_flag=True, help="Say of each attempt who saw it.")
@click.argument("kinds", nargs=-1)
def main(behind: str, verbose: bool, kinds: tuple[str, ...]) -> None:
    """Make every attempt, or those of some KINDS."""
    made: Counter[str] = Counter()
    leaked: Counter[str] = Counter()
    with World(behind) as world:
        for one in world.run(*kinds):
            made[one.kind] += 1
            leaked[one.kind] += bool(one.seen_by)
            if one.seen_by or verbose:
                seen = f"seen by {', '.join(one.seen_by)}" if one.seen_by else "not seen"
                click.echo(f"{one.kind}: {one.title}: {seen}")
    click.echo(f"\n{'class':<12}{'attempts':>10}{'leaked':>8}")
    for kind in made:
        click.echo(f"{kind:<12}{made[kind]:>10}{leaked[kind]:>8}")
    click.echo(f"{'all':<12}{made.total():>10}{leaked.total():>8}")
    sys.exit(1 if leaked.total() and behind == "boxwall" else 0)


main()
