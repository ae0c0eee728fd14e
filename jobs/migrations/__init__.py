"""The domain's own revisions, with a version table of their own: `projects_alembic_version`."""
