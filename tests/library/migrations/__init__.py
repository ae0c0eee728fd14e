"""Alembic revisions of the library."""
