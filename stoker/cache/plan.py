"""What a request comes to: its view, its key, who guards it, and what is asked of Redis.

The same for every reader and at every time, so it is made once and kept: validating an id and naming its keys
costs as much as the rest of a hit.
"""

from __future__ import annotations

from dataclasses import dataclass

from stoker.cache.question import Question
from stoker.cache.view import EntryKey, View


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One request. `question` is of the entry and, if it is guarded, of the access entry behind it.

    `member` is the key as the sets of what is read name it.
    """

    view: View
    key: EntryKey
    guard: EntryKey | None
    question: Question
    member: bytes
