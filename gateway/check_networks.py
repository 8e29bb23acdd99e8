"""`gateway networks check NAME`: each provider asked for what the gateway will need of it.

Shapes  Nothing is stored, and no database is needed: a network can be checked before it is served.
        A row is a question, a column a provider. Beneath stands what to do about each answer that
        does not hold. --json is one line: `network, chain_id, ok, providers, agreement, advice`.
Errors  GatewayError for a network nobody described, or one without RPC_URLS.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass

import orjson
from rich.text import Text

from adapters.evm import EvmClient
from application.ports import Unavailable
from chain_ingest.admission import Finding, identity_of, services_of
from domain.networks import Network
from gateway.failures import GatewayError
from gateway.rpc_operators import Operator, operator_of
from gateway.settings import Settings
from gateway.tables import console, folding, lines

BLOCKS_BACK = 3  # an older block, that a provider which lags a little has as well
PROVIDERS_WANTED = 3
_ADDRESS = re.compile(r" at 0x[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Checked:
    """One provider: who it is, what it answered, or why it did not."""

    name: str
    operator: Operator
    head: int | None
    findings: tuple[Finding, ...]
    outage: str | None = None

    @property
    def good(self) -> bool:
        return self.outage is None and all(f.holds or not f.needed for f in self.findings)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether they tell of one chain: the hash each gives for one block."""

    number: int | None
    hashes: dict[str, str]

    @property
    def good(self) -> bool:
        return len(set(self.hashes.values())) <= 1


async def check(settings: Settings, name: str, *, as_json: bool) -> int:
    """Ask, print; the exit status."""
    network, urls = _described(settings, name)
    async with AsyncExitStack() as stack:
        clients = []
        for number, url in enumerate(urls, start=1):
            client = EvmClient(url, network, provider_name=f"{name}-{number}")
            await client.open()
            stack.push_async_callback(client.close)
            clients.append(client)
        checked = await asyncio.gather(
            *(_checked(client, network, url) for client, url in zip(clients, urls, strict=True))
        )
        agreement = await _agreement(clients, checked)
    good = all(each.good for each in checked) and agreement.good
    advice = _advice(checked, agreement)
    if as_json:
        _print_json(network, checked, agreement, advice, good=good)
    else:
        _print_table(network, checked, agreement, advice)
    return 0 if good else 1


def _described(settings: Settings, name: str) -> tuple[Network, tuple[str, ...]]:
    try:
        network = settings.network(name)
    except (KeyError, ValueError):
        known = ", ".join(settings.known())
        raise GatewayError(
            f"nobody has described a network {name!r}: built in or in NETWORKS_FILE are {known}"
        ) from None
    urls = settings.rpc_urls.get(name)
    if not urls:
        raise GatewayError(f"RPC_URLS_{name.upper()} is not set: there is nobody to ask")
    return network, urls


# ---------------------------------------------------------------- asking


async def _checked(client: EvmClient, network: Network, url: str) -> Checked:
    operator = operator_of(url)
    try:
        findings = await identity_of(client, network)
        if not findings[0].holds:  # another chain: nothing else it says would mean anything
            return Checked(client.name, operator, None, findings)
        head = await client.head_number()
        findings = (*findings, *await services_of(client, network))
    except Unavailable as outage:
        return Checked(client.name, operator, None, (), outage.reason)
    return Checked(client.name, operator, head, findings)


async def _agreement(clients: Sequence[EvmClient], checked: Sequence[Checked]) -> Agreement:
    heads = [each.head for each in checked if each.head is not None]
    if not heads:
        return Agreement(None, {})
    number = max(min(heads) - BLOCKS_BACK, 0)
    hashes: dict[str, str] = {}
    for client, each in zip(clients, checked, strict=True):
        if each.head is None:
            continue
        try:
            told = await client.block_hash(number)
        except Unavailable as outage:
            told = outage.reason
        hashes[client.name] = told or "no such block"
    return Agreement(number, hashes)


# ---------------------------------------------------------------- telling


def _advice(checked: Sequence[Checked], agreement: Agreement) -> list[str]:
    advice = [f"{each.name}: does not answer: {each.outage}" for each in checked if each.outage]
    advice += [
        f"{each.name}: {finding.about}: it says {finding.said}, expected {finding.expected}; "
        f"{finding.remedy}"
        for each in checked
        for finding in each.findings
        if not finding.holds
    ]
    advice += [
        f"{each.name}: {each.operator.shown} passes questions on to other operators: it must not "
        "stand beside one of those, and cannot say which it asked"
        for each in checked
        if each.operator.aggregator
    ]
    if not agreement.good:
        advice.append(
            f"the providers tell of different blocks {agreement.number}: one of them follows "
            "another branch or another chain; compare with an explorer and replace it"
        )
    if len(checked) == 1:
        advice.append(
            "one provider: nothing is attested, and on live networks nothing is confirmed"
        )
    elif len(checked) < PROVIDERS_WANTED:
        advice.append("two providers: while one is down nothing is confirmed; give a third")
    return advice


def _print_table(
    network: Network, checked: Sequence[Checked], agreement: Agreement, advice: Sequence[str]
) -> None:
    title = f"{network.title} ({network.name}), chain {network.chain_id}, {network.mode}"
    names = [each.name for each in checked]
    table = folding(title, "question", *names, left=frozenset({"question", *names}))
    table.add_row("operator", *(each.operator.shown for each in checked))
    questions = dict.fromkeys(f.about for each in checked for f in each.findings)
    for about in questions:
        table.add_row(_brief(about), *(_cell(each, about) for each in checked))
    if agreement.number is not None:
        hashes = [agreement.hashes.get(name) for name in names]
        table.add_row(
            f"hash of block {agreement.number}",
            *(_short(told) if told else "-" for told in hashes),
        )
    out = console()
    out.print(table)
    rules = ", ".join(rule.text for rule in network.policy.rules)
    lines(out, f"Confirmed after: {rules}.", *advice)
    lines(out, "All is well." if not advice else "")


def _cell(each: Checked, about: str) -> str | Text:
    if each.outage is not None:
        return "no answer"
    finding = next((found for found in each.findings if found.about == about), None)
    if finding is None:
        return "-"
    said = _short(finding.said)
    if finding.holds:
        return f"yes: {said}"
    return Text.assemble(("NO" if finding.needed else "no", "bold"), f": {said}")


def _brief(about: str) -> str:
    """Without the token's address: it would be folded, and the advice has it."""
    return _ADDRESS.sub("", about)


def _short(text: str) -> str:
    """Thirty-two bytes are known by their first few."""
    hexadecimal = text.startswith("0x") and len(text) == 66
    return text[:18] + "…" if hexadecimal else text


def _print_json(
    network: Network,
    checked: Sequence[Checked],
    agreement: Agreement,
    advice: Sequence[str],
    *,
    good: bool,
) -> None:
    told = {
        "network": network.name,
        "chain_id": network.chain_id,
        "ok": good,
        "providers": [
            {
                "provider": each.name,
                "operator": each.operator.shown,
                "aggregator": each.operator.aggregator,
                "head": each.head,
                "outage": each.outage,
                "findings": [asdict(finding) for finding in each.findings],
            }
            for each in checked
        ],
        "agreement": {"block": agreement.number, "hashes": agreement.hashes},
        "advice": list(advice),
    }
    sys.stdout.write(orjson.dumps(told).decode() + "\n")
