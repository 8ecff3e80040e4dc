"""`python -m boxwall`: the command, where its script is not on the path."""

from boxwall.cli.main import main

main()
