"""`make bypass`: what gets out of a box, policy by policy, and a table of all classes.

make bypass ARGS="--behind nothing"      nothing in the box's way, for comparison
make bypass ARGS="--behind 'COMMAND'"    what a command sets up in the node's namespace
"""

import sys
from pathlib import Path

import click

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from forms import FORMS, NOBODY  # noqa: E402  # the path is set before
from table import table  # noqa: E402
from world import World  # noqa: E402


@click.command()
@click.option("--behind", default="boxwall", show_default=True, help="boxwall, nothing, COMMAND")
@click.option("--policy", "policies", multiple=True, help="Only this one; may be repeated.")
@click.option("--verbose", is_flag=True, help="Say of each attempt who saw it.")
@click.argument("kinds", nargs=-1)
def main(behind: str, policies: tuple[str, ...], verbose: bool, kinds: tuple[str, ...]) -> None:
    """Make every attempt, or those of some KINDS. Exit status 1: something leaked, or a control did
    not arrive, or an attempt could not be made.
    """
    forms = (NOBODY,) if behind == "nothing" else FORMS
    made = []
    with World(behind) as world:
        for form in forms:
            if policies and form.name not in policies:
                continue
            done = world.run(form, *kinds)
            made += done
            for one in done:
                if verbose or one.is_leak or one.is_lost or one.problem:
                    click.echo(one)
    click.echo(table(made))
    sys.exit(any(one.is_leak or one.is_lost or one.problem for one in made))


main()
