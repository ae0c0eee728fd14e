"""Text from strangers, made safe for terminals and logs.

Job ids, errors, names of views and workers hold whatever somebody could write into a queue or a database:
escape sequences that move a cursor, line breaks that forge a log line, marks that reverse a line's letters.
What is not printable is shown as Python writes it in a string: an escape character as backslash, x, 1b.
"""

from __future__ import annotations


def escaped(text: str) -> str:
    """The text on one line, with nothing in it that a terminal acts on."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def escaped_lines(text: str) -> str:
    """The same for a text of several lines, which stay apart."""
    return "\n".join(map(escaped, text.split("\n")))
