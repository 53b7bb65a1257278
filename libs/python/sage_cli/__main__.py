"""``python -m sage_cli``: the ``sage`` command."""

from sage_cli.app import main

main()
