"""`python -m alexnet`: the command line."""

from alexnet.cli import main

main()
