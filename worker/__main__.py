"""`python -m worker`: the command `stoker`, with this application's demonstration."""

from stoker.cli import main
from stoker.cli.app import COMMANDS, Command

COMMANDS["demo"] = Command("worker.demo.command:demo", "Run the whole system under load, check every answer.")

if __name__ == "__main__":
    main()
