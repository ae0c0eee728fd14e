"""Alembic's environment, for Stoker's tables and for a domain's alike.

Always run by stoker/migrate.py, which hands over the connection and where the version table is; there is no
alembic.ini, and no offline mode.
"""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=attributes["version_table"],
    version_table_schema=attributes["version_table_schema"],
)
with context.begin_transaction():
    context.run_migrations()
