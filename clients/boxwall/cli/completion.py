"""`boxwall completion`: what a shell has to evaluate to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from boxwall.cli.settings import client_options


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@client_options
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(boxwall completion bash)"      in ~/.bashrc
    zsh:   eval "$(boxwall completion zsh)"       in ~/.zshrc
    fish:  boxwall completion fish > ~/.config/fish/completions/boxwall.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "boxwall", "_BOXWALL_COMPLETE").source())
