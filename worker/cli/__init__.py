"""The command line. Exit codes: 0 done, 1 it failed, 2 settings or usage are wrong, 130 interrupted.

Every error that Stoker raises on purpose is one clear line on stderr; anything else is a bug and shows its
traceback.
"""

from __future__ import annotations

import sys

from jobs.errors import BadRequest, DeclarationError, SettingsError, StokerError
from worker.cli.app import app

FAILED, WRONG, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Entry point of `stoker` and of `python -m worker`."""
    try:
        app()
    except (SettingsError, BadRequest, DeclarationError) as error:
        _leave(error, WRONG)
    except StokerError as error:
        _leave(error, FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _leave(error: StokerError, code: int) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        sys.stderr.write(f"error: {line}\n")
    sys.exit(code)
