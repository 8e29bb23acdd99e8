"""Forward-only SQL, one revision a file in versions/; run by adapters/migrate.py as gw_owner.

A revision grants what gw_app, gw_signer and gw_readonly need, and nothing more; gw_backup reads
whatever gw_owner makes. Expand before a deploy, contract after it: old and new code run beside
each other in between, so each revision names its phase. Once it is applied anywhere its file is
never edited again.
"""

VERSION_SCHEMA = "migrations"
VERSION_TABLE = "applied"
