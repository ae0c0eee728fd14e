"""Connections to both Redis roles: what a call costs, how long it may take, and which error a failure raises.

`connection` shares one connection among all callers of a process, `opening` makes it, `script` names Lua
scripts; they raise the neutral `RedisAway`. `cache` (with `primary`) and `queue` are the two roles: each
translates it into the error of its own role, CacheUnavailable or QueueUnavailable.
"""
