"""`python -m segstream`."""

from segstream.cli import main

main()
