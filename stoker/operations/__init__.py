"""What operators can read and do: the one interface behind console, API and command line.

A module for each noun: `cache` and its `entries`, `jobs` (`live_jobs`: those in the queue), `dead` letters,
`lanes`, `schedule`, `tokens`, the `audit` log; `figures` are those of the cache. Functions take plain
values, check them, and return the models that the API and `--json` show. Every action is audited before it
is done.
"""
