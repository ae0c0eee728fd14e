"""What the driver and the processes that it starts agree on: environment variables and an exit code."""

from __future__ import annotations

WORKLOAD = "CHAOS_WORKLOAD"
"""`module:name` of the workload."""
FOLDER = "CHAOS_FOLDER"
"""The folder of the run."""
SOCKET = "CHAOS_SOCKET"
"""Where a web app listens."""
HEALED = "healed"
"""A file in the folder: while it exists, poison events can be applied."""
NOT_NOW = 75
"""Exit code: a server is away (EX_TEMPFAIL of sysexits.h)."""
