"""The vault's twin: the same envelope around two dictionaries."""

from uuid import UUID

from adapters.envelope import Envelope
from application.ports import Ids, SecretUnknown, SubjectDestroyed


class MemoryVault:
    def __init__(self, master_key: bytes, ids: Ids) -> None:
        self._envelope = Envelope(master_key, ids)
        self.secrets: dict[UUID, bytes] = {}
        self.subjects: dict[str, bytes | None] = {}  # None: destroyed

    async def put_secret(self, secret_id: UUID, secret: bytes) -> None:
        if secret_id not in self.secrets:
            self.secrets[secret_id] = self._envelope.seal_secret(secret_id, secret)
        elif await self.get_secret(secret_id) != secret:
            raise ValueError("a secret is written once; this id holds another one")

    async def get_secret(self, secret_id: UUID) -> bytes:
        sealed = self.secrets.get(secret_id)
        if sealed is None:
            raise SecretUnknown(f"no secret {secret_id}")
        return self._envelope.open_secret(secret_id, sealed)

    async def seal(self, subject: str, text: str) -> str:
        if subject not in self.subjects:
            self.subjects[subject] = self._envelope.new_subject_key(subject)
        key = self.subjects[subject]
        if key is None:
            raise SubjectDestroyed(subject)
        return self._envelope.seal_text(subject, key, text)

    async def open(self, subject: str, ciphertext: str) -> str | None:
        key = self.subjects.get(subject)
        return None if key is None else self._envelope.open_text(subject, key, ciphertext)

    async def destroy(self, subject: str) -> None:
        self.subjects[subject] = None
