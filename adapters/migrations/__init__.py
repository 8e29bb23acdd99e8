"""Forward-only SQL, one revision a file in versions/; run by adapters/migrate.py as gw_owner.

A revision grants what gw_app, gw_signer and gw_readonly need, and nothing more. Expand before a
deploy, contract after it: old and new code run beside each other in between.
"""

VERSION_SCHEMA = "migrations"
VERSION_TABLE = "applied"
