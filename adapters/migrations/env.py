"""Run by alembic for each command; adapters/migrate.py hands in the connection.

One transaction a revision: a failing one leaves the earlier ones applied and nothing of itself,
its checksum included.
"""

from alembic import context

from adapters.migrations import VERSION_SCHEMA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=VERSION_SCHEMA,
    transaction_per_migration=True,
    on_version_apply=context.config.attributes["on_version_apply"],
)
with context.begin_transaction():
    context.run_migrations()
