"""One suite for the vault: on PostgreSQL, and on its twin."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest

from adapters.clock import SystemIds
from adapters.envelope import SealBroken
from adapters.key_vault import PostgresVault
from adapters.memory.vault import MemoryVault
from adapters.postgres import Postgres
from application.ports import SecretUnknown, SubjectDestroyed, Vault
from tests.conftest import Migrated

MASTER_KEY = bytes(range(32))
OTHER_MASTER_KEY = bytes(range(1, 33))
SECRET = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ONE, TWO = UUID(int=1), UUID(int=2)
SUBJECT = "payment_session:1"
EMAIL = "Zoë@example.com"


@dataclass
class Place:
    vault: Vault
    opened_with: Callable[[bytes], Vault]  # the same rows under another master key


@pytest.fixture(params=["postgres", "twin"])
async def place(request: pytest.FixtureRequest, migrated: Migrated) -> AsyncIterator[Place]:
    if request.param == "twin":
        twin = MemoryVault(MASTER_KEY, SystemIds())

        def reopened(key: bytes) -> Vault:
            other = MemoryVault(key, SystemIds())
            other.secrets, other.subjects = twin.secrets, twin.subjects
            return other

        yield Place(twin, reopened)
        return
    async with Postgres(migrated.app_dsn, name="test") as pg:
        yield Place(
            PostgresVault(pg, MASTER_KEY, SystemIds()),
            lambda key: PostgresVault(pg, key, SystemIds()),
        )


@pytest.fixture
def vault(place: Place) -> Vault:
    return place.vault


async def test_a_secret_comes_back_and_is_written_once(vault: Vault) -> None:
    await vault.put_secret(ONE, SECRET)
    await vault.put_secret(ONE, SECRET)
    with pytest.raises(ValueError, match="written once"):
        await vault.put_secret(ONE, b"another")
    assert await vault.get_secret(ONE) == SECRET


async def test_an_unknown_secret_is_told(vault: Vault) -> None:
    with pytest.raises(SecretUnknown):
        await vault.get_secret(TWO)


async def test_what_is_sealed_opens_for_its_subject_only(vault: Vault) -> None:
    sealed = await vault.seal(SUBJECT, EMAIL)
    assert await vault.open(SUBJECT, sealed) == EMAIL
    await vault.seal("payment_session:2", EMAIL)
    with pytest.raises(SealBroken):
        await vault.open("payment_session:2", sealed)


async def test_equal_texts_have_different_ciphertexts(vault: Vault) -> None:
    first, second = await vault.seal(SUBJECT, EMAIL), await vault.seal(SUBJECT, EMAIL)
    assert first != second
    assert await vault.open(SUBJECT, first) == await vault.open(SUBJECT, second) == EMAIL


async def test_many_at_once_make_one_key(vault: Vault) -> None:
    sealed = await asyncio.gather(*(vault.seal(SUBJECT, f"{n}") for n in range(20)))
    assert [await vault.open(SUBJECT, each) for each in sealed] == [f"{n}" for n in range(20)]


async def test_a_destroyed_subject_is_unreadable_for_ever(vault: Vault) -> None:
    sealed = await vault.seal(SUBJECT, EMAIL)
    kept = await vault.seal("payment_session:2", EMAIL)
    await vault.destroy(SUBJECT)
    await vault.destroy(SUBJECT)
    assert await vault.open(SUBJECT, sealed) is None
    with pytest.raises(SubjectDestroyed):
        await vault.seal(SUBJECT, "again")
    assert await vault.open(SUBJECT, sealed) is None
    assert await vault.open("payment_session:2", kept) == EMAIL


async def test_a_subject_that_never_was_opens_nothing_and_can_be_destroyed(vault: Vault) -> None:
    assert await vault.open("nobody", "AQ==") is None
    await vault.destroy("nobody")
    with pytest.raises(SubjectDestroyed):
        await vault.seal("nobody", "too late")


async def test_altered_ciphertext_does_not_open(vault: Vault) -> None:
    raw = bytearray(base64.b64decode(await vault.seal(SUBJECT, EMAIL)))
    for place in (0, 5, len(raw) - 1):
        altered = bytearray(raw)
        altered[place] ^= 1
        with pytest.raises(SealBroken):
            await vault.open(SUBJECT, base64.b64encode(altered).decode())
    with pytest.raises(SealBroken):
        await vault.open(SUBJECT, "not base64!")


async def test_another_master_key_opens_nothing(place: Place) -> None:
    await place.vault.put_secret(ONE, SECRET)
    sealed = await place.vault.seal(SUBJECT, EMAIL)
    other = place.opened_with(OTHER_MASTER_KEY)
    with pytest.raises(SealBroken):
        await other.get_secret(ONE)
    with pytest.raises(SealBroken):
        await other.open(SUBJECT, sealed)
    assert await place.opened_with(MASTER_KEY).get_secret(ONE) == SECRET


def test_a_master_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MemoryVault(b"short", SystemIds())


@pytest.fixture
async def postgres_vault(migrated: Migrated) -> AsyncIterator[PostgresVault]:
    async with Postgres(migrated.app_dsn, name="test") as pg:
        yield PostgresVault(pg, MASTER_KEY, SystemIds())


async def test_nothing_stands_in_the_database_in_the_clear(
    postgres_vault: PostgresVault, migrated: Migrated
) -> None:
    await postgres_vault.put_secret(ONE, SECRET)
    sealed = await postgres_vault.seal(SUBJECT, EMAIL)
    async with await psycopg.AsyncConnection.connect(migrated.admin_dsn) as admin:
        rows = await (await admin.execute("SELECT sealed FROM vault.secrets")).fetchall()
        keys = await (await admin.execute("SELECT wrapped_key FROM vault.subjects")).fetchall()
    assert len(rows) == len(keys) == 1
    assert SECRET not in rows[0][0]
    assert EMAIL.encode() not in base64.b64decode(sealed)


async def test_a_row_copied_onto_another_id_does_not_open(
    postgres_vault: PostgresVault, migrated: Migrated
) -> None:
    await postgres_vault.put_secret(ONE, SECRET)
    await postgres_vault.put_secret(TWO, b"whsec_other")
    async with await psycopg.AsyncConnection.connect(migrated.admin_dsn) as admin:
        await admin.execute(
            "UPDATE vault.secrets SET sealed = "
            "(SELECT sealed FROM vault.secrets WHERE secret_id = %s) WHERE secret_id = %s",
            (ONE, TWO),
        )
    with pytest.raises(SealBroken):
        await postgres_vault.get_secret(TWO)


async def test_neither_signer_nor_reader_may_look_into_the_vault(migrated: Migrated) -> None:
    for dsn in (migrated.signer_dsn, migrated.readonly_dsn):
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT * FROM vault.secrets")
