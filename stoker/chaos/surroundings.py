"""What the driver and its processes agree on: environment variables, a header, an exit code."""

from __future__ import annotations

WORKLOAD = "CHAOS_WORKLOAD"
"""`module:name` of the workload."""
FOLDER = "CHAOS_FOLDER"
"""The folder of the run."""
SOCKET = "CHAOS_SOCKET"
"""Where a web app listens."""
OLDER = "CHAOS_OLDER"
"""Set in a process that is the release before this one."""
HEALED = "healed"
"""A file in the folder: while it exists, poison events can be applied."""
NOT_NOW = 75
"""Exit code: a server is away (EX_TEMPFAIL of sysexits.h)."""
LEAVES_AFTER = "X-Leaves-After"
"""Header of a read: seconds after which its reader goes away."""
JOB, POISON, REQUEST = "/chaos/job", "/chaos/poison", "/chaos/request"
"""Paths that only a web app under chaos has."""
