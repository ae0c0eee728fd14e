"""The command line. Exit codes: 0 done, 1 it failed, 2 settings or usage are wrong, 130 interrupted.

Every error that Stoker raises on purpose is one clear line on stderr; anything else is a bug and shows its
traceback.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stoker.cli.app import app
from stoker.errors import BadRequest, DeclarationError, SettingsError, StokerError

FAILED, WRONG, INTERRUPTED = 1, 2, 130
REFUSALS = ("28000", "28P01", "3D000")
"""SQLSTATE of a user, a password or a database that Postgres does not know."""


def main() -> None:
    """Entry point of `stoker`, `python -m stoker` and an application's `python -m worker`."""
    # The domain is a package of the application, which is run from its own folder and rarely installed.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        app()
    except (SettingsError, BadRequest, DeclarationError) as error:
        _leave(error, WRONG)
    except StokerError as error:
        _leave(error, FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # A refusal may be wrapped in anything that a driver or SQLAlchemy raises; all else goes on as it is.
        refused = _refused(error)
        if refused is None:
            raise
        _leave(refused, WRONG)


def _refused(error: BaseException | None) -> SettingsError | None:
    """What Postgres says of a URL that it does not take; None if that is not what went wrong."""
    while error is not None:
        if getattr(error, "sqlstate", None) in REFUSALS:
            return SettingsError(f"Postgres refuses DATABASE_URL: {str(error).splitlines()[0]}")
        error = getattr(error, "orig", None) or error.__cause__
    return None


def _leave(error: StokerError, code: int) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
