"""Whether a wallet has signed the words of a payment: keys here, contract wallets on chain.

Shapes  EvmSignatures(providers by network) implements application/claims.py Signatures. A key
        signs the text (EIP-191, version 0x45) or the typed data (EIP-712); both are tried.
        An address with code and without such a signature is asked itself (EIP-1271), under
        either hash. AGREEING providers must say the same, for one can lie alone; only a network
        that may confirm on one provider's word (allow_unattested) takes one's word here too.
        A key's signature needs no provider. Words are of one session, so questions on chain are
        counted by words (adapters/question_limits.py).
        A signature of a key is 65 bytes r, s, v with v 0, 1, 27 or 28 and s in the lower half of
        the curve's order, so that each has one form.
Units   bytes of a signature, gas of a question.
Errors  None for whatever is no signature of these words; ports.Unavailable("rpc", ...) when a
        contract wallet cannot be asked, or the providers disagree; ports.AskedTooOften.
Source  EIP-191, EIP-712, EIP-1271, EIP-2 (lower half). The signing library is not used: its
        import raises the recursion limit of the whole process, which reads JSON of strangers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import coincurve
from eth_hash.auto import keccak

from adapters.addresses import address_of
from adapters.evm import RpcRefused
from adapters.question_limits import QuestionLimits
from application.claims import ProofWords
from application.ports import Clock, Unavailable
from domain.events import SignatureScheme
from domain.networks import Network

SIGNATURE_BYTES_MAX = 4_096
QUESTION_GAS = 5_000_000  # what checking a signature on chain may cost the provider
AGREEING = 2
_KEY_SIGNATURE_BYTES = 65
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_RECOVERY = {0: 0, 1: 1, 27: 0, 28: 1}
_IS_VALID_SIGNATURE = "1626ba7e"
_VALID = "0x" + _IS_VALID_SIGNATURE + "0" * 56


class Provider(Protocol):
    name: str

    async def call(self, method: str, *params: object) -> Any: ...


class EvmSignatures:
    def __init__(self, providers: Mapping[str, Sequence[Provider]], clock: Clock) -> None:
        self._providers = providers
        self._limits = QuestionLimits(clock)

    async def scheme_of(
        self, network: Network, payer: str, words: ProofWords, signature: bytes
    ) -> SignatureScheme | None:
        if not 0 < len(signature) <= SIGNATURE_BYTES_MAX:
            return None
        text, typed = text_hash(words.text), typed_data_hash(words.typed_data)
        if signer_of(text, signature) == payer:
            return "eip191"
        if signer_of(typed, signature) == payer:
            return "eip712"
        providers, needed = self._enough(network)
        with self._limits.question(text) as question:
            question.answer = await _agreed(providers, needed, payer, (text, typed), signature)
        return "eip1271" if question.answer else None

    def _enough(self, network: Network) -> tuple[Sequence[Provider], int]:
        """Whom to ask, and how many of them must say the same."""
        providers = self._providers.get(network.name, ())
        alone = network.policy.allow_unattested and len(providers) == 1
        needed = 1 if alone else AGREEING
        if len(providers) < needed:
            raise Unavailable(
                "rpc",
                f"{network.name} has {len(providers)} of the {needed} providers that must agree "
                "on what a contract wallet has signed; a key's signature needs none",
            )
        return providers, needed


async def _agreed(
    providers: Sequence[Provider],
    needed: int,
    wallet: str,
    hashes: tuple[bytes, ...],
    signature: bytes,
) -> bool:
    """What enough providers say, asked one after the other."""
    said = {True: 0, False: 0}
    for provider in providers:
        try:
            answer = await _signed_on_chain(provider, wallet, hashes, signature)
        except Unavailable:
            continue
        said[answer] += 1
        if said[answer] == needed:
            return answer
    raise Unavailable("rpc", f"fewer than {needed} providers agree on a contract wallet")


async def _signed_on_chain(
    provider: Provider, wallet: str, hashes: tuple[bytes, ...], signature: bytes
) -> bool:
    code = await provider.call("eth_getCode", wallet, "latest")
    if not isinstance(code, str):
        raise Unavailable("rpc", f"{provider.name}: no code, and not even none")
    if code.removeprefix("0x") == "":
        return False
    for hash_ in hashes:
        if await _valid(provider, wallet, hash_, signature):
            return True
    return False


async def _valid(provider: Provider, wallet: str, hash_: bytes, signature: bytes) -> bool:
    length = f"{len(signature):064x}"
    padded = signature + bytes(-len(signature) % 32)
    data = f"0x{_IS_VALID_SIGNATURE}{hash_.hex()}{64:064x}{length}{padded.hex()}"
    question = {"to": wallet, "data": data, "gas": hex(QUESTION_GAS)}
    try:
        answer = await provider.call("eth_call", question, "latest")
    except RpcRefused as refused:
        if refused.reverted:
            return False
        raise
    # The selector is its own magic answer, in the first word; more may follow it.
    return isinstance(answer, str) and answer[: len(_VALID)].lower() == _VALID


def signer_of(hash_: bytes, signature: bytes) -> str | None:
    """The address whose key made this signature of the hash, in lower case."""
    if len(signature) != _KEY_SIGNATURE_BYTES:
        return None
    recovery = _RECOVERY.get(signature[64])
    if recovery is None or int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([recovery]), hash_, hasher=None
        )
    except ValueError:  # r or s is zero or too large, or r is no point of the curve
        return None
    return address_of(key.format(compressed=False))


def text_hash(text: str) -> bytes:
    """What a wallet signs of a text that a person reads (EIP-191, personal_sign)."""
    message = text.encode()
    prefix = f"\x19Ethereum Signed Message:\n{len(message)}".encode()
    return bytes(keccak(prefix + message))


# ---------------------------------------------------------------- EIP-712, flat structs only


def typed_data_hash(document: Mapping[str, Any]) -> bytes:
    """What a wallet signs of typed data. Our own words only: structs of texts, numbers, addresses.

    A type this does not know is a bug in the words, so it asserts.
    """
    types, primary = document["types"], document["primaryType"]
    domain = _struct_hash("EIP712Domain", types, document["domain"])
    message = _struct_hash(primary, types, document["message"])
    return bytes(keccak(b"\x19\x01" + domain + message))


def _struct_hash(
    name: str, types: Mapping[str, Sequence[Mapping[str, str]]], values: Mapping[str, Any]
) -> bytes:
    fields = types[name]
    members = ",".join(f"{field['type']} {field['name']}" for field in fields)
    words = [_word(field["type"], values[field["name"]]) for field in fields]
    return bytes(keccak(keccak(f"{name}({members})".encode()) + b"".join(words)))


def _word(kind: str, value: Any) -> bytes:
    match kind:
        case "string":
            return bytes(keccak(value.encode()))
        case "uint256":
            return int(value).to_bytes(32, "big")
        case "address":
            return bytes(12) + bytes.fromhex(value[2:])
        case _:
            raise AssertionError(f"{kind} is no type of our words")
