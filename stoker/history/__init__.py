"""History: figures over time and past runs of jobs, in Postgres, where they outlive every process.

Written by the worker process only, in batches; bounded by rolling up and deleting. Losing a batch loses
history, never a job. Listings read these tables and never the queue.
"""
