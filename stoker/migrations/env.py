"""Alembic's environment, for Stoker's tables and for a domain's alike.

Always run by stoker/migrate.py, which hands over the connection and the name of the version table; there is
no alembic.ini, and no offline mode.
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table=context.config.attributes["version_table"])
with context.begin_transaction():
    context.run_migrations()
