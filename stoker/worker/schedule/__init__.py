"""Cron: tasks are enqueued at their slots, once over any number of workers, by a ledger in Postgres."""
