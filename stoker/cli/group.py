"""A group of commands, such as `stoker dead`, and how its help lists them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

LONGEST = 1_000
"""Letters of a sentence that is never cut."""


class Group(TyperGroup):
    """A group whose list of commands has whole sentences, over several lines where needed."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - the library's own
        """Write the list of commands with the first sentence of each."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(LONGEST)) for name, command in self.commands.items()]
            )
