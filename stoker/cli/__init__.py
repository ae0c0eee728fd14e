"""The command line.

Exit codes: 0 success, 1 something is wrong or was not done, 2 wrong usage, settings or traces, 130 after
Ctrl-C. Every error that Stoker raises on purpose is one line on stderr; any other exception is a bug and
shows its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from stoker.cli.app import app
from stoker.errors import BadRequest, DeclarationError, SettingsError, StokerError
from stoker.prediction.trace import TraceError
from stoker.telemetry.plain import escaped

FAILED, WRONG, INTERRUPTED = 1, 2, 130
REFUSALS = ("28000", "28P01", "3D000")
"""SQLSTATE of an unknown user, a wrong password and an unknown database."""


def main() -> None:
    """Entry point of `stoker`, `python -m stoker` and an application's `python -m worker`."""
    # The domain is a package of the application, which is run from its own folder and rarely installed.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        _require_utf8(sys.argv[1:])
        app()
    except (SettingsError, BadRequest, DeclarationError, TraceError) as error:
        _leave(error, WRONG)
    except StokerError as error:
        _leave(error, FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # A refusal may be wrapped in any error of a driver or of SQLAlchemy; other errors are raised again.
        refused = _refused(error)
        if refused is None:
            raise
        _leave(refused, WRONG)


def _refused(error: BaseException | None) -> SettingsError | None:
    """The message of a Postgres that refuses the URL's user or database; None for any other error."""
    while error is not None:
        if getattr(error, "sqlstate", None) in REFUSALS:
            return SettingsError(f"Postgres refuses DATABASE_URL: {str(error).splitlines()[0]}")
        error = getattr(error, "orig", None) or error.__cause__
    return None


def _require_utf8(words: Sequence[str]) -> None:
    """Refuse arguments that are not UTF-8: no name in Postgres or in the queue can match them."""
    for word in words:
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            raise SettingsError(f"the argument {word!r} is not UTF-8")


def _leave(error: StokerError, code: int) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        sys.stderr.write(f"error: {escaped(line)}\n")
    sys.exit(code)
