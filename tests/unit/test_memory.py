"""What a Redis says of its memory, and what the nodes of a cluster say together."""

from __future__ import annotations

from dataclasses import replace

from stoker.redis.memory import Memory, memory_of, together

MEMORY = b"# Memory\r\nused_memory:900\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lfu\r\n"
STATS = b"# Stats\r\nexpired_keys:4\r\nevicted_keys:3\r\n"


def test_what_a_server_says_is_read_and_what_it_leaves_out_is_zero() -> None:
    found = memory_of(MEMORY + STATS + b"uptime_in_seconds:5\r\n")
    assert (found.used_bytes, found.limit_bytes, found.policy) == (900, 1000, "allkeys-lfu")
    assert (found.evicted, found.expired, found.evicts, found.is_full) == (3, 4, True, False)
    nothing = memory_of(b"maxmemory:0\r\n")
    assert (nothing.limit_bytes, nothing.evicted, nothing.policy, nothing.is_full) == (
        None,
        0,
        "unknown",
        False,
    )


def test_nodes_are_added_up_unless_one_of_them_is_full() -> None:
    node = Memory(100, 1000, "noeviction", 1, 2, 7.0)
    other = replace(node, used_bytes=300, started_at_s=9.0)
    assert together([node, other]) == Memory(400, 2000, "noeviction", 2, 4, 9.0)
    assert together([node, replace(other, limit_bytes=None)]).limit_bytes is None
    full = replace(node, used_bytes=1000)
    assert together([node, full]).is_full
