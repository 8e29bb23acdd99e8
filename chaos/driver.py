"""A chain's life by seed: payments, decoys, blocks, forks, on a real node.

Shapes  `Driver` writes the chain through anvil and copies each block into the Mirror. A fork of
        depth d rolls the node back and mines another branch: of what was in the old one most is
        mined again, in other blocks; some is spent elsewhere under the same nonce, some is gone.
        The new branch is one block shorter, as long, or longer; readers see it at once.
        Decoys count for nobody: an imitation of the token, failed and empty transfers, transfers
        to oneself and to strangers.
Units   base units; blocks.
Errors  AssertionError when the node did not mine what it was given: then nothing is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from chaos.mirror import FINAL_AFTER_BLOCKS, Block, Mirror
from gateway.embedded_anvil import MNEMONIC
from gateway.local_chain import USDC, USDT, LocalChain

CHAIN_ID = 31337
PAYERS = range(1, 9)
FORK_DEPTH_MAX = FINAL_AFTER_BLOCKS
BLOCK_SECONDS = 12
BATCH_TRANSFERS_MAX = 5
GAS_LIMIT = 1_000_000
FUNDS = 10**15
TOKENS = (USDC, USDT)
_EVERYTHING = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Tx:
    payer: int
    nonce: int
    raw: str
    hash: str


class Driver:
    def __init__(self, chain: LocalChain, rng: Random, watched: Sequence[str]) -> None:
        self._chain = chain
        self._rng = rng
        self._watched = watched
        self._accounts: dict[int, LocalAccount] = {}
        self._nonces: dict[int, int] = {}
        self._blocks: dict[int, list[Tx]] = {}
        self._batcher = self._imitation = ""
        self._told = sha256()
        self.mirror: Mirror
        self.transactions = self.mined = self.forks = self.deepest = 0

    @property
    def story(self) -> str:
        """A digest of all that was done: the same seed gives the same one."""
        return self._told.hexdigest()[:16]

    async def prepare(self) -> None:
        chain = self._chain
        await chain.rpc("evm_setAutomine", True)
        await chain.deploy_tokens()
        self._batcher = await chain.deploy("Batcher")
        self._imitation = await chain.deploy("TestDollar", "USD Coin", "USDC")
        Account.enable_unaudited_hdwallet_features()
        for payer in PAYERS:
            path = f"m/44'/60'/0'/0/{payer}"
            account = Account.from_mnemonic(MNEMONIC, account_path=path)
            self._accounts[payer], self._nonces[payer] = account, 0
            for token in (*TOKENS, self._imitation):
                await chain.mint(token, account.address, FUNDS)
        await chain.rpc("evm_setAutomine", False)
        self.mirror = Mirror(await self._read(0))
        self.mirror.switch(0, [await self._read(n + 1) for n in range(await chain.head())])
        approvals = [
            self._signed(p, token, "approve(address,uint256)", [self._batcher, _EVERYTHING])
            for p in PAYERS
            for token in TOKENS
        ]
        self.mirror.switch(self.mirror.head, [await self._mine(approvals)])
        # Forks leave all of this alone.
        await self.grow([[] for _ in range(FORK_DEPTH_MAX + 1)])

    # ------------------------------------------------------------ growing

    async def grow(self, blocks: Sequence[Sequence[Tx]]) -> None:
        for transactions in blocks:
            self.mirror.switch(self.mirror.head, [await self._mine(transactions)])

    async def step(self, blocks: int, payments_max: int) -> None:
        """So many new blocks, each with up to so many transactions."""
        for _ in range(blocks):
            await self.grow([self.some(self._rng.randint(0, payments_max))])

    def sure(self, count: int) -> list[Tx]:
        """Plain payments to us: none of them a decoy."""
        return [
            self._signed(
                self._rng.choice(PAYERS),
                self._rng.choice(TOKENS),
                "transfer(address,uint256)",
                [self._ours(), self._rng.randint(1, 10**7)],
            )
            for _ in range(count)
        ]

    def some(self, count: int) -> list[Tx]:
        return [self._payment() for _ in range(count)]

    async def fork(self, depth: int) -> int:
        """Replace the newest blocks by another branch; how many were replaced."""
        head = self.mirror.head
        depth = min(depth, head - self.mirror.final)
        if depth < 1:
            return 0
        base = head - depth
        lost = [self._blocks.pop(number, []) for number in range(base + 1, head + 1)]
        await self._chain.rpc("anvil_rollback", depth)
        code = await self._chain.rpc("eth_getCode", USDC, "latest")
        assert code != "0x", f"the node lost its state when it went back to block {base}"
        # Another miner, so that even an empty block is another block.
        await self._chain.rpc("anvil_setCoinbase", "0x" + self._rng.randbytes(20).hex())
        shorter = -1 if depth > 1 else 0
        length = depth + self._rng.choice((shorter, 0, 0, 1, 1, 2))
        branch = self._again(lost, length)
        self._told.update(f"fork {base} {length};".encode())
        mined = []
        for number, transactions in enumerate(branch, start=base + 1):
            mined.append(await self._mine(transactions, number))
        self.mirror.switch(base, mined)
        self.forks, self.deepest = self.forks + 1, max(self.deepest, depth)
        return depth

    def _again(self, lost: Sequence[Sequence[Tx]], length: int) -> list[list[Tx]]:
        """What becomes of the transactions of the old branch, block by block of the new one."""
        rng = self._rng
        branch: list[list[Tx]] = [[] for _ in range(length)]
        earliest: dict[int, int] = {}
        gone: set[int] = set()
        for place, transactions in enumerate(lost):
            for transaction in transactions:
                payer = transaction.payer
                if payer not in gone and rng.random() < 0.08:
                    gone.add(payer)  # his node forgets it: his later ones cannot be mined either
                    self._nonces[payer] = transaction.nonce
                if payer in gone:
                    continue
                again = transaction
                if rng.random() < 0.2:
                    again = self._payment(payer, transaction.nonce)  # a double spend
                late = min(place + rng.choice((0, 0, 1, 3)), length - 1)
                earliest[payer] = max(late, earliest.get(payer, 0))
                branch[earliest[payer]].append(again)
        return branch

    # ------------------------------------------------------------ transactions

    def _payment(self, payer: int | None = None, nonce: int | None = None) -> Tx:
        rng = self._rng
        payer = rng.choice(PAYERS) if payer is None else payer
        token, kind = rng.choice(TOKENS), rng.random()
        to, units = self._somebody(), rng.randint(1, 10**7)
        one = "transfer(address,uint256)"
        if kind < 0.55:
            return self._signed(payer, token, one, [to, units], nonce)
        if kind < 0.80:
            count = rng.randint(2, BATCH_TRANSFERS_MAX)
            recipients = [self._somebody() for _ in range(count)]
            values = [rng.randint(1, 10**7) for _ in range(count)]
            many = "send(address,address[],uint256[])"
            return self._signed(payer, self._batcher, many, [token, recipients, values], nonce)
        if kind < 0.85:
            return self._signed(payer, self._imitation, one, [self._ours(), units], nonce)
        if kind < 0.90:  # more than there is: it fails, and names our address
            return self._signed(payer, token, one, [self._ours(), FUNDS * 1_000], nonce)
        if kind < 0.95:
            return self._signed(payer, token, one, [self._ours(), 0], nonce)
        return self._signed(payer, token, one, [self._accounts[payer].address, units], nonce)

    def _somebody(self) -> str:
        return self._ours() if self._rng.random() < 0.75 else "0x" + self._rng.randbytes(20).hex()

    def _ours(self) -> str:
        return self._rng.choice(self._watched)

    def _signed(
        self,
        payer: int,
        to: str,
        signature: str,
        arguments: Sequence[Any],
        nonce: int | None = None,
    ) -> Tx:
        if nonce is None:
            nonce = self._nonces[payer]
            self._nonces[payer] += 1
        kinds = signature[signature.index("(") + 1 : -1].split(",")
        data = keccak(text=signature)[:4] + encode(kinds, arguments)
        transaction: dict[str, Any] = {
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "to": bytes.fromhex(to[2:]),
            "value": 0,
            "data": data,
            "gas": GAS_LIMIT,
            "maxFeePerGas": 20 * 10**9,
            "maxPriorityFeePerGas": 10**9,
            "type": 2,
        }
        signed = self._accounts[payer].sign_transaction(transaction)
        raw, tx_hash = signed.raw_transaction.hex(), signed.hash.hex()
        return Tx(payer, nonce, "0x" + raw.removeprefix("0x"), "0x" + tx_hash.removeprefix("0x"))

    # ------------------------------------------------------------ mining

    async def _mine(self, transactions: Sequence[Tx], number: int | None = None) -> Block:
        number = self.mirror.head + 1 if number is None else number
        for transaction in transactions:
            await self._chain.rpc("eth_sendRawTransaction", transaction.raw)
        parent = int(
            (await self._chain.rpc("eth_getBlockByNumber", "latest", False))["timestamp"], 16
        )
        await self._chain.rpc("evm_mine", {"timestamp": parent + BLOCK_SECONDS})
        block = await self._read(number)
        given = {transaction.hash for transaction in transactions}
        assert set(block.header["transactions"]) == given, f"block {number} holds something else"
        self._blocks[number] = list(transactions)
        self._told.update("".join(block.header["transactions"]).encode())
        self.mined += 1
        self.transactions += len(transactions)
        return block

    async def _read(self, number: int) -> Block:
        header = await self._chain.rpc("eth_getBlockByNumber", hex(number), False)
        receipts = await self._chain.rpc("eth_getBlockReceipts", hex(number))
        assert header is not None, f"the node has no block {number}"
        assert receipts is not None, f"the node has no receipts of block {number}"
        return Block(header, receipts)
