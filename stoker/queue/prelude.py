"""The Lua that the queue's scripts share, in `lua/prelude.lua`; it is joined to each before its digest is made."""

from __future__ import annotations

from stoker.redis.script import lua

PRELUDE = lua("stoker.queue", "prelude")
