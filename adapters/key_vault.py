"""The vault in PostgreSQL: sealed secrets, and a wrapped key for each subject of personal data.

Shapes  tables vault.secrets and vault.subjects. A destroyed subject stays as a row without a
        key: erasure is final, and nobody makes the subject a second key by mistake.
Errors  SecretUnknown, SubjectDestroyed, StoreUnavailable; SealBroken when the master key is
        not the one that sealed. Copies of the table outlive a destroyed key until the backups
        that hold it expire.
"""

from uuid import UUID

from adapters.envelope import Envelope
from adapters.postgres import Postgres
from application.ports import Ids, SecretUnknown, SubjectDestroyed

_KEEP = """
INSERT INTO vault.secrets (secret_id, sealed) VALUES (%s, %s) ON CONFLICT (secret_id) DO NOTHING
"""
_FIND = "SELECT sealed FROM vault.secrets WHERE secret_id = %s"
_MAKE_SUBJECT = """
INSERT INTO vault.subjects (subject, wrapped_key) VALUES (%s, %s) ON CONFLICT (subject) DO NOTHING
"""
_GET_SUBJECT = "SELECT wrapped_key FROM vault.subjects WHERE subject = %s"
_DESTROY = """
INSERT INTO vault.subjects (subject, wrapped_key, destroyed_at)
VALUES (%s, NULL, clock_timestamp())
ON CONFLICT (subject) DO UPDATE SET wrapped_key = NULL, destroyed_at = clock_timestamp()
WHERE vault.subjects.destroyed_at IS NULL
"""


class PostgresVault:
    def __init__(self, pg: Postgres, master_key: bytes, ids: Ids) -> None:
        self._pg = pg
        self._envelope = Envelope(master_key, ids)

    async def put_secret(self, secret_id: UUID, secret: bytes) -> None:
        sealed = self._envelope.seal_secret(secret_id, secret)
        async with self._pg.connection() as connection:
            inserted = await connection.execute(_KEEP, (secret_id, sealed))
        if inserted.rowcount == 0 and await self.get_secret(secret_id) != secret:
            raise ValueError("a secret is written once; this id holds another one")

    async def get_secret(self, secret_id: UUID) -> bytes:
        async with self._pg.reading() as connection:
            cursor = await connection.execute(_FIND, (secret_id,))
            row = await cursor.fetchone()
        if row is None:
            raise SecretUnknown(f"no secret {secret_id}")
        return self._envelope.open_secret(secret_id, bytes(row[0]))

    async def seal(self, subject: str, text: str) -> str:
        key = await self._subject_key(subject) or await self._made_key(subject)
        return self._envelope.seal_text(subject, key, text)

    async def open(self, subject: str, ciphertext: str) -> str | None:
        try:
            key = await self._subject_key(subject)
        except SubjectDestroyed:
            return None
        return None if key is None else self._envelope.open_text(subject, key, ciphertext)

    async def destroy(self, subject: str) -> None:
        async with self._pg.connection() as connection:
            await connection.execute(_DESTROY, (subject,))

    async def _subject_key(self, subject: str) -> bytes | None:
        async with self._pg.reading() as connection:
            cursor = await connection.execute(_GET_SUBJECT, (subject,))
            row = await cursor.fetchone()
        if row is not None and row[0] is None:
            raise SubjectDestroyed(subject)
        return None if row is None else bytes(row[0])

    async def _made_key(self, subject: str) -> bytes:
        """A key for a subject that has none: ours, or that of whoever was quicker."""
        wrapped = self._envelope.new_subject_key(subject)
        async with self._pg.connection() as connection:
            await connection.execute(_MAKE_SUBJECT, (subject, wrapped))
        key = await self._subject_key(subject)
        assert key is not None
        return key
