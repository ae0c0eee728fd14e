"""The outbox: events recorded in the writer's own transaction, applied by the relay.

Recording touches no Redis. Nothing is applied before commit (RACES 3), nothing is lost in a crash after it
(RACES 6), and settling depends only on the cache's acknowledgement (RACES 7).
"""
