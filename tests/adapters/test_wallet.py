"""Addresses against published vectors; counters and keystore on the real thing."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from bip32 import BIP32  # type: ignore[import-untyped] # ships no types
from bip32.base58 import (  # type: ignore[import-untyped] # ships no types
    b58decode_check,
    b58encode_check,
)
from eth_account import Account
from eth_account.hdaccount import seed_from_mnemonic

from adapters.addresses import ExtendedKey, checksum_address, parse_address
from adapters.keystore import KeystoreFailed, LocalSigner, create_keystore, open_keystore
from adapters.memory.wallet import MemoryDepositAddresses, MemoryRefundWallets
from adapters.postgres import Postgres
from adapters.wallet import HotWallets, XpubAddresses
from application.paying_out import SigningFailed, TransferToSign
from application.ports import DepositAddresses
from domain.errors import AddressMalformed, ExtendedKeyMalformed
from gateway.embedded_anvil import MNEMONIC
from tests.conftest import Migrated

SEED = bytes(seed_from_mnemonic(MNEMONIC, ""))
# The first accounts of the phrase "test test ... junk", as anvil and hardhat print them.
JUNK_ADDRESSES = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
)
# BIP-32, test vector 1: m, m/0H/1/2H and m/0H/1/2H/2.
VECTOR_SEED = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
VECTOR_MASTER = (
    "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265"
    "TMg7usUDFdp6W1EGMcet8"
)
VECTOR_DEPTH_3 = (
    "xpub6D4BDPcP2GT577Vvch3R8wDkScZWzQzMMUm3PWbmWvVJrZwQY4VUNgqFJPMM3No2dFDFGTsxxpG5uJh7n7epu4"
    "trkrX7x7DogT5Uv6fcLW5"
)
VECTOR_DEPTH_4 = (
    "xpub6FHa3pjLCk84BayeJxFW2SP4XRrFd1JYnxeLeU8EqN3vDfZmbqBqaGJAyiLjTAwm6ZLRQUMv1ZACTj37sR62cf"
    "N7fe5JnJ7dh8zL4fiyLHV"
)
VECTOR_PRIVATE_3 = (
    "xprv9z4pot5VBttmtdRTWfWQmoH1taj2axGVzFqSb8C9xaxKymcFzXBDptWmT7FwuEzG3ryjH4ktypQSAewRiNMjAN"
    "TtpgP4mLTj34bhnZX7UiM"
)
FAST_N = 2**12
PASSPHRASE = "correct horse"


def account_key() -> str:
    return LocalSigner(SEED).xpub()


class TestAddresses:
    @pytest.mark.parametrize("index", range(len(JUNK_ADDRESSES)))
    def test_a_public_key_gives_the_addresses_any_wallet_shows(self, index: int) -> None:
        address = ExtendedKey.parse(account_key()).address(index)
        assert checksum_address(address) == JUNK_ADDRESSES[index]

    def test_the_vectors_of_bip_32_come_out(self) -> None:
        tree = BIP32.from_seed(VECTOR_SEED)
        assert tree.get_xpub() == VECTOR_MASTER
        assert tree.get_xpub_from_path("m/0'/1/2'") == VECTOR_DEPTH_3
        below = BIP32.from_seed(VECTOR_SEED).get_privkey_from_path("m/0'/1/2'/0/5")
        expected = Account.from_key(below).address
        assert checksum_address(ExtendedKey.parse(VECTOR_DEPTH_3).address(5)) == expected

    def test_the_public_and_the_private_side_agree_on_many_addresses(self) -> None:
        signer = LocalSigner(VECTOR_SEED)
        key = ExtendedKey.parse(signer.xpub())
        for index in (*range(50), 2**31 - 1):
            assert key.address(index) == asyncio.run(signer.address(index))

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (VECTOR_PRIVATE_3, "private key"),
            ("xprv-anything", "private key"),
            ("tprv8ZgxMBicQKsPeDgjzdC36fs6bMjGApWDNLR9erAXMs5skhMv36j9MV5ecvfavji5kh", "private"),
            (VECTOR_MASTER, "depth 0"),
            (VECTOR_DEPTH_4, "depth 4"),
            (VECTOR_DEPTH_3[:-1] + "6", "a letter"),
            (
                "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCTo",
                "letter",
            ),
            ("xpub\x00", "a letter"),
            ("xpub€", "a letter"),
            ("", "a letter"),
            ("x" * 5_000, "too long"),
            ("0" + VECTOR_DEPTH_3[1:], "a letter"),
        ],
    )
    def test_anything_but_an_accounts_public_key_is_refused(self, text: str, says: str) -> None:
        with pytest.raises(ExtendedKeyMalformed, match=says) as refusal:
            ExtendedKey.parse(text)
        assert len(text) < 8 or text not in refusal.value.message

    def test_a_key_that_is_no_point_of_the_curve_is_refused(self) -> None:
        raw = bytearray(b58decode_check(VECTOR_DEPTH_3))
        raw[45] = 5
        with pytest.raises(ExtendedKeyMalformed, match="curve"):
            ExtendedKey.parse(b58encode_check(bytes(raw)).decode())

    @pytest.mark.parametrize("address", JUNK_ADDRESSES)
    def test_an_address_is_read_in_any_case_that_adds_up(self, address: str) -> None:
        inside = address.lower()
        for written in (address, inside, "0x" + address[2:].upper()):
            assert parse_address(written) == inside

    @pytest.mark.parametrize(
        "text",
        [
            "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",  # one letter's case
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92267",  # one digit
            "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb922666",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb9226\n",
            "0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266",
            "0x٣39fd6e51aad88f6f4ce6ab8827279cfffb92266",
            "",
        ],
    )
    def test_what_is_no_address_is_refused(self, text: str) -> None:
        with pytest.raises(AddressMalformed):
            parse_address(text)


class Counting:
    async def test_indexes_follow_each_other_and_match_their_addresses(
        self, addresses: DepositAddresses
    ) -> None:
        given = [await addresses.allocate(UUID(int=1), "test", account_key()) for _ in range(4)]
        assert [index for index, _ in given] == [0, 1, 2, 3]
        assert [checksum_address(address) for _, address in given] == list(JUNK_ADDRESSES)

    async def test_two_merchants_with_one_key_never_share_an_address(
        self, addresses: DepositAddresses
    ) -> None:
        first = await addresses.allocate(UUID(int=1), "test", account_key())
        second = await addresses.allocate(UUID(int=2), "live", account_key())
        other = await addresses.allocate(UUID(int=2), "live", VECTOR_DEPTH_3)
        assert (first[0], second[0], other[0]) == (0, 1, 0)

    async def test_one_key_written_in_two_ways_is_still_one_key(
        self, addresses: DepositAddresses
    ) -> None:
        tree = BIP32.from_xpub(account_key())
        renamed = BIP32(tree.chaincode, pubkey=tree.pubkey, depth=3, fingerprint=b"\1\2\3\4")
        assert renamed.get_xpub() != account_key()
        await addresses.allocate(UUID(int=1), "test", account_key())
        index, _ = await addresses.allocate(UUID(int=1), "test", renamed.get_xpub())
        assert index == 1

    async def test_checking_a_key_gives_its_first_address_and_uses_nothing(
        self, addresses: DepositAddresses
    ) -> None:
        assert checksum_address(addresses.check(account_key())) == JUNK_ADDRESSES[0]
        index, _ = await addresses.allocate(UUID(int=1), "test", account_key())
        assert index == 0
        with pytest.raises(ExtendedKeyMalformed):
            addresses.check(VECTOR_PRIVATE_3)


class TestMemoryCounting(Counting):
    @pytest.fixture
    def addresses(self) -> DepositAddresses:
        return MemoryDepositAddresses()

    async def test_refund_wallets_count_too(self) -> None:
        wallets = MemoryRefundWallets(account_key())
        given = [await wallets.allocate() for _ in range(2)]
        assert [checksum_address(address) for _, address in given] == list(JUNK_ADDRESSES[:2])


@pytest.mark.services
class TestPostgresCounting(Counting):
    @pytest.fixture
    async def pg(self, migrated: Migrated) -> AsyncIterator[Postgres]:
        async with Postgres(migrated.app_dsn, name="wallets") as pg:
            yield pg

    @pytest.fixture
    def addresses(self, pg: Postgres) -> DepositAddresses:
        return XpubAddresses(pg)

    async def test_many_at_once_get_an_index_each(self, addresses: DepositAddresses) -> None:
        given = await asyncio.gather(
            *(addresses.allocate(UUID(int=n), "test", account_key()) for n in range(100))
        )
        assert sorted(index for index, _ in given) == list(range(100))
        assert len({address for _, address in given}) == 100

    async def test_refund_wallets_are_those_of_the_signer(self, pg: Postgres) -> None:
        signer = LocalSigner(SEED)
        wallets = HotWallets(pg, signer.xpub())
        for expected in range(3):
            index, address = await wallets.allocate()
            assert index == expected
            assert address == await signer.address(index)


class TestKeystore:
    def test_a_keystore_opens_with_its_passphrase_only(self, tmp_path: Path) -> None:
        path = tmp_path / "keys" / "keystore.json"
        made = create_keystore(path, PASSPHRASE, SEED[:32], scrypt_n=FAST_N)
        assert open_keystore(path, PASSPHRASE).xpub() == made.xpub()
        with pytest.raises(KeystoreFailed, match="passphrase is wrong"):
            open_keystore(path, "incorrect horse")

    def test_nobody_else_can_read_it_and_nothing_of_the_seed_is_in_it(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "keystore.json"
        create_keystore(path, PASSPHRASE, SEED[:32], scrypt_n=FAST_N)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
        assert SEED[:32].hex() not in text
        assert "address" not in json.loads(text)
        assert list(tmp_path.iterdir()) == [path]

    def test_one_that_others_can_read_is_not_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "keystore.json"
        create_keystore(path, PASSPHRASE, SEED[:32], scrypt_n=FAST_N)
        path.chmod(0o640)
        with pytest.raises(KeystoreFailed, match="0600"):
            open_keystore(path, PASSPHRASE)

    def test_a_keystore_is_never_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "keystore.json"
        made = create_keystore(path, PASSPHRASE, SEED[:32], scrypt_n=FAST_N)
        with pytest.raises(KeystoreFailed, match="exists already"):
            create_keystore(path, PASSPHRASE, SEED[32:64], scrypt_n=FAST_N)
        assert open_keystore(path, PASSPHRASE).xpub() == made.xpub()

    @pytest.mark.parametrize(
        ("passphrase", "entropy", "says"),
        [("", SEED[:32], "passphrase"), (PASSPHRASE, b"short", "32 bytes")],
    )
    def test_a_weak_one_is_not_made(
        self, tmp_path: Path, passphrase: str, entropy: bytes, says: str
    ) -> None:
        with pytest.raises(KeystoreFailed, match=says):
            create_keystore(tmp_path / "keystore.json", passphrase, entropy, scrypt_n=FAST_N)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 3}', '{"version": 9}', "\0"])
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "keystore.json"
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(KeystoreFailed, match="no keystore"):
            open_keystore(path, PASSPHRASE)

    def test_a_missing_file_is_named_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(KeystoreFailed, match="gateway keystore"):
            open_keystore(tmp_path / "none.json", PASSPHRASE)

    def test_no_text_of_a_signer_shows_its_key(self) -> None:
        assert repr(LocalSigner(SEED)) == "LocalSigner()"


class TestSigning:
    TRANSFER = TransferToSign(
        chain_id=31337,
        wallet=JUNK_ADDRESSES[1].lower(),
        wallet_index=1,
        nonce=7,
        token="0x" + "aa" * 20,
        destination="0x" + "bb" * 20,
        units=2**200 + 1,
        gas_limit=150_000,
        max_fee=3 * 10**9,
        tip=10**9,
    )

    async def test_the_signature_is_the_wallets_and_says_what_was_asked(self) -> None:
        signed = await LocalSigner(SEED).sign_transfer(self.TRANSFER)
        assert Account.recover_transaction(signed.raw) == JUNK_ADDRESSES[1]
        assert signed.raw[0] == 2
        assert bytes.fromhex("a9059cbb" + "00" * 12 + "bb" * 20) in signed.raw
        assert (2**200 + 1).to_bytes(32, "big") in signed.raw

    async def test_signing_again_gives_the_same_bytes(self) -> None:
        first = await LocalSigner(SEED).sign_transfer(self.TRANSFER)
        assert await LocalSigner(SEED).sign_transfer(self.TRANSFER) == first

    async def test_a_wallet_of_another_index_is_not_signed_for(self) -> None:
        with pytest.raises(SigningFailed):
            await LocalSigner(SEED).sign_transfer(replace(self.TRANSFER, wallet_index=2))
