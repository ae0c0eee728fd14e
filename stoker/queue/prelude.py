"""The Lua that the queue's scripts share: `lua/prelude.lua`, joined to each before its digest is made."""

from __future__ import annotations

from stoker.redis.script import lua

PRELUDE = lua("stoker.queue", "prelude")
