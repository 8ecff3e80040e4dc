"""`make bypass`: what gets out of a box, policy by policy, and a table of all classes.

    make bypass                                      Boxwall, five policies
    make bypass ARGS="--policy 'by name' TLS HTTP"   one policy, two classes
    make bypass ARGS="--behind nothing"              nobody polices: every attempt should be seen
    make bypass ARGS="--behind './mine.sh'"          what a command sets up, for comparison

A command is run by a shell as root in the node's namespace, once for each policy and box, and is
told of both by its environment: see `behind.Command`. `plain_nft.sh` is one.

What has to be steered from outside while it happens is in tests/lab: updates and kills under a
flood (test_fail_closed), an interface made anew under an old name, a box under an old id
(test_attach).
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
    """Make every attempt, or those of some KINDS. Exit status 1: something leaked that is no
    documented limit, or a control did not arrive, or an attempt could not be made.
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
                if verbose or one.is_leak or one.is_bad:
                    click.echo(one)
    click.echo(table(made))
    sys.exit(any(one.is_bad for one in made))


main()
