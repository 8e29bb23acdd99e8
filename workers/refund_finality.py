"""From which block on downwards no ordinary reorg takes anything out any more.

Shapes  What the chain itself calls finalized, whatever the policy asks of payments. From a node
        that names no such block it is what lies FINAL_BLOCKS_MIN deep: Polygon once lost 157
        blocks (February 2023), the deepest reorg known of a network we serve.
Units   blocks; depth counts as confirmations do, head minus block plus one.
Errors  ports.Unavailable.
"""

from application.outside import ChainClient

FINAL_BLOCKS_MIN = 256


async def newest_final(chain: ChainClient, head: int | None = None) -> int:
    """The number of the newest final block; below 0 while there is none.

    `head` is the chain's head where the caller knows it already: it is asked for otherwise, and
    only of a node that names no final block.
    """
    named = await chain.tagged_number("finalized")
    if named is not None:
        return named
    return (await chain.head_number() if head is None else head) + 1 - FINAL_BLOCKS_MIN
