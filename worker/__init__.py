"""The worker process, its API and its CLI. Imports `jobs`; nothing in `jobs` imports it."""
