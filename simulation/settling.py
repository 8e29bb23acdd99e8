"""The end of a history: faults end, time passes, and everything comes to rest, or does not.

Shapes  Rounds of blocks and time. A network that still waits for something gets as many blocks as
        its policy asks for, or as make a block final where a refund's transaction failed,
        others one. Quiet means: nothing is owed, and no fact has come for
        QUIET_ROUNDS rounds.
Units   seconds of virtual time. The longest pause covers a webhook's longest delay.
"""

import json
from typing import Protocol

from adapters.memory.chain import FINAL_BLOCKS, MemoryChain
from domain.networks import ConfirmationRule
from simulation import setting
from simulation.chains import ChainHand
from simulation.faults import Faults
from simulation.servers import Servers
from simulation.staff import Staff

ROUND_SECONDS = (3, 5, 10, 15, 30, 60, 90, 120, 300, 600, 1_300)
ROUNDS_MAX = 40
QUIET_ROUNDS = 2
TOGETHER_BLOCKS = 2  # more of them come at once
PATIENT_ROUNDS = 2  # before so many blocks are mined that all becomes final


class Place(Protocol):
    servers: Servers
    staff: Staff
    chains: ChainHand
    faults: Faults

    def pass_time(self, seconds: float) -> None: ...


def settle_down(world: Place) -> bool:
    world.faults.end_all()
    world.servers.forks.chains.clear()
    world.servers.receivers.be_fine()
    world.servers.outgoing.stopped = None
    world.staff.calm()
    quiet = 0
    for number in range(ROUNDS_MAX):
        facts = len(world.servers.log.recorder.rows)
        for name in world.servers.chains:
            _blocks(world, name, number)
        world.pass_time(ROUND_SECONDS[min(number, len(ROUND_SECONDS) - 1)])
        world.staff.start_all()
        calm = facts == len(world.servers.log.recorder.rows) and owed(world.servers) is None
        quiet = quiet + 1 if calm else 0
        if quiet == QUIET_ROUNDS:
            return True
    return False


def _blocks(world: Place, network: str, round_number: int) -> None:
    chain = world.servers.chains[network]
    waits = network in _open_refund_networks(world.servers) or _unconfirmed(world, network)
    deep = round_number == 0 or bool(chain.mempool) or waits
    blocks = _asked_for(network)
    for_final = waits and round_number >= PATIENT_ROUNDS and _asks_for_final(network)
    if _failed_on_chain(world.servers, network) or for_final:
        blocks = max(blocks, _until_final(chain))
    # A chain that was reorganised grows past every branch it left: else it had not won.
    tallest = max(block.header.number for block in chain.branches())
    count = max(blocks, tallest - chain.head + blocks) if deep else 1
    if count > TOGETHER_BLOCKS:
        world.chains.mine_at_once(network, count)
    else:
        for _ in range(count):
            world.chains.mine_now(network)


def _rules(network: str) -> list[ConfirmationRule]:
    """Of all the terms that may have been in force."""
    return [
        rule
        for policy in setting.POLICIES[network]
        for rule in (
            ConfirmationRule(blocks=policy.blocks, tag=policy.tag),
            *(tier.rule for tier in policy.tiers),
        )
    ]


def _asked_for(network: str) -> int:
    rules = _rules(network)
    safe = setting.SAFE_BLOCKS + 1 if any(rule.tag == "safe" for rule in rules) else 1
    return max(safe, *(rule.blocks for rule in rules))


def _asks_for_final(network: str) -> bool:
    return any(rule.tag == "finalized" for rule in _rules(network))


def _until_final(chain: MemoryChain) -> int:
    """Blocks until whatever waits or is mined now has become final."""
    if chain.mempool:
        return FINAL_BLOCKS + 1
    newest = max((block.header.number for block in chain.blocks if block.txs), default=0)
    return newest + FINAL_BLOCKS - chain.head


def _unconfirmed(world: Place, network: str) -> bool:
    return _waiting(world.servers, network)


def _waiting(servers: Servers, network: str) -> bool:
    rows = servers.tables.rows_of("transfers")
    return any(row["network"] == network and row["status"] == "observed" for row in rows)


def _open_refund_networks(servers: Servers) -> set[str]:
    return {
        network
        for network in servers.chains
        for row in servers.tables.rows_of("refunds")
        if row["status"] not in {"completed", "failed"} and f'"{network}"' in str(row["state"])
    }


def _failed_on_chain(servers: Servers, network: str) -> bool:
    """An open refund's transaction moved nothing: that is believed of a final block only."""
    chain = servers.chains[network]
    hashes = [
        json.loads(str(row["state"]))["tx_hash"]
        for row in servers.tables.rows_of("refunds")
        if row["status"] == "broadcast"
    ]
    return any(chain.find(tx) is not None and not _paid(chain, tx) for tx in hashes)


def _lost_refunds(servers: Servers) -> bool:
    """Completed, and no chain has such a payment any more: the watch has to notice."""
    hashes = [
        json.loads(str(row["state"]))["tx_hash"]
        for row in servers.tables.rows_of("refunds")
        if row["status"] == "completed"
    ]
    return not all(any(_paid(chain, tx) for chain in servers.chains.values()) for tx in hashes)


def _paid(chain: MemoryChain, tx_hash: str) -> bool:
    found = chain.find(tx_hash)
    return found is not None and found[1].succeeded


def owed(servers: Servers) -> str | None:
    """What somebody still has to do, or None."""
    if servers.tables.position < len(servers.log.recorder.rows):
        return "the projections are behind"
    for name in servers.chains:
        waits = _owed_on(servers, name)
        if waits is not None:
            return waits
    if _open_refund_networks(servers):
        return "refunds are open"
    if _lost_refunds(servers):
        return "a refund's transaction has left the chain"
    if any(row["status"] == "due" for row in servers.tables.rows_of("deliveries")):
        return "deliveries are due"
    return None


def _owed_on(servers: Servers, name: str) -> str | None:
    chain, cursor = servers.chains[name], servers.ingest.cursor_of(name)
    if cursor is None or cursor.hash != chain.blocks[-1].header.hash:
        return f"the ingester of {name} is behind"
    if chain.mempool:
        return f"{name} has transactions to mine"
    if not servers.ingest.all_told(name):
        return f"reports of {name} are on their way"
    if setting.PROVIDERS[name] > 1 and not servers.ingest.all_attested(name):
        return f"blocks of {name} are to be read again"
    return f"transfers of {name} are not confirmed" if _waiting(servers, name) else None
