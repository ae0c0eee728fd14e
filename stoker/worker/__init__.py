"""The worker process: engine, schedule, sweeper."""
