"""Every fault that chaos knows.

A fault holds the lock of its target while it lasts, so faults of different targets overlap and two of the
same target do not. Each fault heals what it did, also when the run is interrupted.
"""

from __future__ import annotations

from stoker.chaos.faults import cache, network, nodes, outbox, pairs, postgres, processes, queue
from stoker.chaos.faults.kind import A_PRIMARY, NODE_S, ONE_CACHE, ONE_QUEUE, RESCUED_S, Kind
from stoker.chaos.faults.plan import Planned, plan

KINDS = (
    # The killed worker may have run the relay: its rescue then applies the changes.
    Kind("kill_worker", "worker", 0.2, 3, processes.kill_worker, RESCUED_S, calm_s=RESCUED_S),
    Kind("kill_webapp", "webapp", 0.2, 2, processes.kill),
    Kind("freeze_worker", "worker", 2, 9, processes.freeze),
    Kind("freeze_webapp", "webapp", 1, 4, processes.freeze),
    Kind("deploy", "worker", 0, 0, processes.deploy),
    Kind("deploy_webapp", "webapp", 0, 0, processes.deploy),
    Kind("queue_restart", "queue", 0.1, 3, queue.restart, topologies=ONE_QUEUE),
    Kind("queue_restart_empty", "queue", 0.1, 2, queue.restart_empty, topologies=ONE_QUEUE),
    Kind("queue_flush", "queue", 0, 0, queue.flush),
    Kind("queue_full", "queue", 1, 3, queue.full),
    Kind("queue_freeze", "queue", 1, 4, queue.freeze, topologies=ONE_QUEUE),
    Kind("cache_restart", "cache", 0.1, 2, cache.restart, topologies=ONE_CACHE),
    Kind("cache_restart_empty", "cache", 0.1, 2, cache.restart_empty, topologies=ONE_CACHE),
    Kind("cache_flush", "cache", 0, 0, cache.flush, topologies=A_PRIMARY),
    Kind("cache_small", "cache", 1, 4, cache.small, topologies=A_PRIMARY),
    Kind("cache_full", "cache", 1, 3, cache.full, topologies=A_PRIMARY),
    Kind("cache_freeze", "cache", 0.6, 3, cache.freeze, topologies=ONE_CACHE),
    Kind("node_kill", "cache", 0.1, 5, nodes.kill, NODE_S, topologies=["cluster"]),
    Kind("node_freeze", "cache", 0.6, 3, nodes.freeze, NODE_S, topologies=["cluster"]),
    Kind("node_failover", "cache", 0, 0, nodes.fail_over, NODE_S, topologies=["cluster"]),
    Kind("postgres_restart", "postgres", 0.1, 2, postgres.restart),
    Kind("postgres_kill", "postgres", 0.1, 1, postgres.kill),
    Kind("pooler_restart", "postgres", 0.1, 2, postgres.pooler_restart, topologies=["pgbouncer"]),
    Kind("pooler_freeze", "postgres", 0.5, 3, postgres.pooler_freeze, topologies=["pgbouncer"]),
    Kind("poison_event", "outbox", 1, 4, outbox.poison_event),
    Kind("unreadable_event", "outbox", 1, 4, outbox.unreadable_event),
    *pairs.kinds(),
    *network.kinds(),
)

__all__ = ["KINDS", "Kind", "Planned", "plan"]
