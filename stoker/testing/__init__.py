"""For the tests of applications: real servers from wheels, and the worker's part done in the test.

Needs the extras `embedded` and `worker`. Never used by a process that serves users. pytest finds the
fixtures `stoker` and `stoker_servers` by itself (stoker/testing/plugin.py); docs/testing.md has examples.
"""

from typing import TYPE_CHECKING

from stoker.on_first_use import importers, module_of_each

if TYPE_CHECKING:
    from stoker.testing.changes import apply, assert_invalidates, assert_recorded
    from stoker.testing.covered import assert_covered
    from stoker.testing.draining import Drained, Ran, drain
    from stoker.testing.slots import Slot, schedule_at
    from stoker.testing.started import servers
    from stoker.testing.waiting import Waiting, assert_enqueued, enqueued

__all__ = [
    "Drained",
    "Ran",
    "Slot",
    "Waiting",
    "apply",
    "assert_covered",
    "assert_enqueued",
    "assert_invalidates",
    "assert_recorded",
    "drain",
    "enqueued",
    "schedule_at",
    "servers",
]

_NAMES = {
    "stoker.testing.changes": "apply assert_invalidates assert_recorded",
    "stoker.testing.covered": "assert_covered",
    "stoker.testing.draining": "Drained Ran drain",
    "stoker.testing.slots": "Slot schedule_at",
    "stoker.testing.started": "servers",
    "stoker.testing.waiting": "Waiting assert_enqueued enqueued",
}
_MODULES = module_of_each(_NAMES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = importers(globals(), _MODULES)
