"""``python -m nas`` is the ``wireloom`` command."""

from nas.cli import main

main()
