"""The root of the trie over a block's receipts, or over any list: the keys are known before.

Shapes  `root_of` takes the encoded items in their order. Item i has the key RLP(i), as nibbles;
        no key begins another, so that branches hold no values. The keys are sorted once for a
        length, and each node is made from a slice of them: nothing is inserted, replaced or
        looked up, which is what a general trie spends its time on.
Source  Yellow Paper, appendix D, "derived" roots: transactions, receipts, withdrawals.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

from eth_hash.auto import keccak

from chain_ingest import rlp

LENGTHS_KEPT_MAX = 512  # plans of keys; one holds about 100 bytes an item
_EMPTY_ROOT = keccak(b"\x80")
_NO_CHILD = b"\x80"
_HASHED_FROM = 32  # bytes; a smaller node stands in its parent itself

Key = tuple[str, int]  # the path in hexadecimal digits, and the item it leads to


def root_of(items: Sequence[bytes]) -> bytes:
    if not items:
        return _EMPTY_ROOT
    return keccak(_node(_keys(len(items)), items, 0))


@lru_cache(maxsize=LENGTHS_KEPT_MAX)
def _keys(count: int) -> tuple[Key, ...]:
    return tuple(sorted((rlp.number(index).hex(), index) for index in range(count)))


def _node(keys: Sequence[Key], items: Sequence[bytes], depth: int) -> bytes:
    """The node under which these keys lie; they agree on their first `depth` digits."""
    first = keys[0][0]
    if len(keys) == 1:
        return rlp.list_of((_path(first[depth:], leaf=True), rlp.string(items[keys[0][1]])))
    shared = _agreed(first, keys[-1][0], depth)
    if shared > depth:
        below = _child(keys, items, shared)
        return rlp.list_of((_path(first[depth:shared], leaf=False), below))
    children = [_NO_CHILD] * 17
    for digit, group in groupby(keys, key=lambda key: key[0][depth]):
        children[int(digit, 16)] = _child(list(group), items, depth + 1)
    return rlp.list_of(children)


def _child(keys: Sequence[Key], items: Sequence[bytes], depth: int) -> bytes:
    node = _node(keys, items, depth)
    return node if len(node) < _HASHED_FROM else b"\xa0" + keccak(node)


def _agreed(first: str, last: str, depth: int) -> int:
    """Sorted keys agree on what the first and the last of them agree on."""
    while first[depth] == last[depth]:
        depth += 1
    return depth


def _path(digits: str, *, leaf: bool) -> bytes:
    kind = 2 if leaf else 0
    if len(digits) % 2:
        return rlp.string(bytes.fromhex(f"{kind + 1}{digits}"))
    return rlp.string(bytes.fromhex(f"{kind}0{digits}"))
