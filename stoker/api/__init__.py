"""The operators' HTTP API: cache management, jobs, health and metrics."""

from stoker.api.app import create_app

__all__ = ["create_app"]
