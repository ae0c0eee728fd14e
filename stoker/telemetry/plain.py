"""Text from strangers, made safe for terminals and logs.

Job ids, errors and names come from a queue or a database that others write to. They may hold escape sequences
that move a cursor, line breaks that forge a log line, or marks that reverse the order of letters. What is not
printable is shown as Python writes it in a string: an escape character as backslash, x, 1b.
"""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text on one line, with nothing in it that a terminal acts on."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def escaped_lines(text: str) -> str:
    """As `plain`, for a text of several lines, which are kept."""
    return "\n".join(map(escaped, text.split("\n")))
