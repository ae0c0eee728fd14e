"""What operators ask and do, the same for console, API and CLI.

Asking: `figures`, `listings`, `lookup`. Doing: `actions` on the cache, `steering` of jobs and schedule; each
is written to the `audit` log, under the name of whoever holds one of the `tokens`.
"""
