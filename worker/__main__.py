"""`python -m worker`: the command `stoker`, with this application's demonstration."""

from stoker.cli import main
from stoker.cli.app import COMMANDS

COMMANDS["demo"] = "worker.demo.command:demo"

if __name__ == "__main__":
    main()
