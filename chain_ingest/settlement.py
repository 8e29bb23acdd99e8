"""Proof of receipts on a chain that executes its blocks after it has agreed on them.

A block there carries the receipts root of older blocks, those it settles: on Avalanche, from
Helicon on, some five seconds' worth, up to `settled_height` in its header. So a block's receipts
are proved by the block that settles it, together with those of all that are settled with it.

Shapes  `settlement_of` finds that block, and the ones it settles, all linked to ours by their
        parents' hashes. `why_settled_receipts_lie` holds the receipts of all of them, block after
        block, against its root. Where one block's receipts end and the next one's begin no root
        says: the agreed transactions of each block do.
Units   heights are block numbers.
Errors  NotSettled   no such block yet, or not on our branch, or one provider's word only: the
                     caller waits and asks again
Source  ACP-194, and avalanchego's block builder: the root over the receipts of the blocks above
        the parent's settled height, up to the block's own. The header's form is shown by a real
        one (tests/golden_blocks); a real root with its receipts was not at hand.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from application.chain_source import Header, TxReceipt
from chain_ingest.proof import receipts_root

BLOCKS_UNTIL_SETTLED_MAX = 256  # five seconds of the fastest blocks are 50
BLOCKS_SETTLED_AT_ONCE_MAX = 256

Agree = Callable[[int], Awaitable[Header]]


class NotSettled(Exception):  # noqa: N818 - it is no fault, only early
    pass


@dataclass(frozen=True, slots=True)
class Settlement:
    """`root_of` carries the receipts root of `blocks`, oldest first; ours is one of them."""

    root_of: Header
    blocks: tuple[Header, ...]


async def settlement_of(ours: Header, agree: Agree) -> Settlement:
    """`agree` gives the canonical block at a height, or raises."""
    above = [ours]
    while _settled_by(above[-1]) < ours.number:
        if len(above) > BLOCKS_UNTIL_SETTLED_MAX:
            raise NotSettled(f"no block settles block {ours.number} soon enough")
        above.append(_linked(above[-1], await agree(above[-1].number + 1)))
    if len(above) == 1:
        raise NotSettled(f"block {ours.number} says that it settles itself")
    root_of, before = above[-1], above[-2]
    first, last = _settled_by(before) + 1, _settled_by(root_of)
    if last - first >= BLOCKS_SETTLED_AT_ONCE_MAX:
        raise NotSettled(f"block {root_of.number} settles too many blocks at once")
    below = [ours]
    while below[-1].number > first:
        child = below[-1]
        below.append(await agree(child.number - 1))
        _linked(below[-1], child)
    line = [*reversed(below), *above[1:]]
    return Settlement(root_of, tuple(each for each in line if each.number <= last))


def why_settled_receipts_lie(
    settlement: Settlement, receipts: Sequence[Sequence[TxReceipt]]
) -> str | None:
    """`receipts` block by block, as the settlement has them."""
    for header, of_block in zip(settlement.blocks, receipts, strict=True):
        if tuple(receipt.tx_hash for receipt in of_block) != header.transactions:
            return f"receipts of block {header.number} name other transactions than the block"
    together = [receipt for of_block in receipts for receipt in of_block]
    if receipts_root(together) != settlement.root_of.receipts_root:
        number = settlement.root_of.number
        return f"receipts of the blocks that block {number} settles do not give its receipts root"
    return None


def _settled_by(header: Header) -> int:
    """A block from before the fork has settled itself."""
    return header.number if header.settled_height is None else header.settled_height


def _linked(parent: Header, child: Header) -> Header:
    if child.parent_hash != parent.hash:
        raise NotSettled(f"block {child.number} is on another branch than block {parent.number}")
    return child
