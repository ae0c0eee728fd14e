"""The schedule: tasks are enqueued at their slots, once over all workers, by a ledger in Postgres."""
