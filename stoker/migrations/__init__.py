"""Alembic's environment and the revisions of Stoker's own tables."""
