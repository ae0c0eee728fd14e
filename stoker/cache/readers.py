"""The one reader that is nobody: the application itself."""

from __future__ import annotations

from typing import Final, NoReturn, final


@final
class System:
    """The type of SYSTEM. Ids of readers are compared as texts; this one is compared by identity."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SYSTEM"

    def __reduce__(self) -> NoReturn:
        raise TypeError("SYSTEM is not stored or sent: pass it where a job reads")


SYSTEM: Final = System()
"""`reader=SYSTEM` reads whatever there is, for jobs and scripts: nobody's right is checked.

No text, number or JSON equals it, so no request can name it.
"""
