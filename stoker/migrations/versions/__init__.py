"""Revisions of Stoker's own tables, oldest first by number."""
