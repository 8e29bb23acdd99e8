"""The demo's scenes, over HTTP and on the chain, as merchant and customer would act them."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from adapters.webhook_receiver import Received, WebhookReceiver
from gateway.demo_story import Step, Story
from gateway.http import ApiClient
from gateway.local_chain import USDC, LocalChain
from gateway.sample_merchant import SampleMerchant

CUSTOMER = 2  # of the node's accounts
SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.4  # so that a person sees each confirmation
Session = dict[str, Any]


class Scenes:
    def __init__(
        self,
        story: Story,
        api: ApiClient,
        chain: LocalChain,
        receiver: WebhookReceiver,
        merchant: SampleMerchant,
    ) -> None:
        self._story = story
        self._api = api
        self._chain = chain
        self._receiver = receiver
        self._merchant = merchant

    async def webhook_endpoint(self) -> None:
        title = "A webhook endpoint; its receiver verifies both signatures"
        async with self._story.step(title) as step:
            endpoint = await self._api.post("/v1/webhook-endpoints", {"url": self._receiver.url})
            self._receiver.trust(endpoint["secret"])
            step.note(f"{endpoint['id']} at {self._receiver.url}")

    # ------------------------------------------------------------ payment

    async def payment(self) -> Session:
        session = await self._open("25.00")
        async with self._story.step("A customer pays 25.00 USDC from an ordinary wallet") as step:
            tx_hash = await self._pay(session)
            step.note(f"transaction {tx_hash}")
            seen = await self._until(session, lambda s: s["status"] == "confirming")
            found = [transfer["tx_hash"] for transfer in seen["transfers"]]
            step.check("the payment is confirming, by this transaction", found == [tx_hash], found)
        async with self._story.step("Confirmations arrive, one block at a time") as step:
            session = await self._confirm(session, step)
            step.check("the payment is completed", session["status"] == "completed", session)
            step.check("25.00 is confirmed", session["amount_confirmed"] == "25.00")
            step.check("the fee is 0.5 %", session["fee"] == "0.125", session["fee"])
        async with self._story.step("The merchant is told by signed webhook") as step:
            told = await self._webhook("payment.completed", session)
            refused = self._receiver.refused
            step.check("both signatures verify (standardwebhooks and ours)", not refused, refused)
            data = told.message["data"]
            step.check("it names the transaction", data["tx_hash"] == tx_hash, data["tx_hash"])
        return session

    async def _open(self, amount: str) -> Session:
        async with self._story.step(f"A payment session over {amount} USD, by REST") as step:
            body = {"amount": amount, "currency": "USD", "merchant_reference": "demo"}
            key = uuid.uuid4().hex  # noqa: TID251 - a person's program chooses its own
            session: Session = await self._api.post("/v1/payment-sessions", body, key=key)
            again = await self._api.post("/v1/payment-sessions", body, key=key)
            step.check("the same request again gives the same session", again == session)
            step.note(f"{session['id']} pays to {session['payment']['address']}")
            step.note(f"checkout {session['checkout_url']}")
            await self._webhook("payment.created", session)
        return session

    async def _pay(self, session: Session) -> str:
        units = int(session["payment"]["amount_units"])
        customer = (await self._chain.accounts())[CUSTOMER]
        await self._chain.mint(USDC, customer, units)
        address = session["payment"]["address"]
        return await self._chain.transfer(USDC, customer, address, units)

    async def _confirm(self, session: Session, step: Step) -> Session:
        """Mine until it is safe, and show `Confirming 1/3 … 3/3`."""
        session = await self._read(session)
        required = session["confirmations"]["required"]
        for seen in range(session["confirmations"]["seen"], required + 1):
            session = await self._until(session, _confirmed(seen))
            step.count(seen, required, f"Confirming {seen}/{required}")
            step.note(f"Confirming {seen}/{required}")
            await asyncio.sleep(LOOK_SECONDS)
            if seen < required:
                await self._chain.mine()
        return await self._until(session, lambda s: s["status"] == "completed")

    # ------------------------------------------------------------ refund

    async def refund(self, session: Session) -> dict[str, Any]:
        customer = (await self._chain.accounts())[CUSTOMER]
        before = await self._chain.balance(USDC, customer)
        async with self._story.step("A refund of 40 %: 10.00 USDC back to the payer") as step:
            body = {"payment_session_id": session["id"], "amount": "10.00", "reason": "demo"}
            key = uuid.uuid4().hex  # noqa: TID251 - a person's program chooses its own
            refund = await self._api.post("/v1/refunds", body, key=key)
            again = await self._api.post("/v1/refunds", body, key=key)
            step.check("asking twice with one key is one refund", again == refund)
            refund = await self._refunded(refund)
            step.note(f"transaction {refund['tx_hash']}, signed by a process without a port")
            step.check("the refund is completed", refund["status"] == "completed", refund)
            got = await self._chain.balance(USDC, customer) - before
            step.check("the chain says the customer has 10.00 more", got == 10_000_000, got)
            left = await self._chain.balance(USDC, self._merchant.refund_wallet)
            step.check("the refund wallet has 40.00 left", left == 40_000_000, left)
            state = await self._until(session, lambda s: s["status"] == "partially_refunded")
            step.check("the payment is partially refunded", state["amount_refunded"] == "10.00")
            await self._webhook("payment.refunded", session)
        return refund

    async def _refunded(self, refund: dict[str, Any]) -> dict[str, Any]:
        """Blocks come as the chain would make them, until our own receipt is deep enough."""
        async with asyncio.timeout(SECONDS_MAX):
            while refund["status"] not in {"completed", "failed"}:
                if refund["tx_hash"] and await self._chain.receipt(refund["tx_hash"]):
                    await self._chain.mine()
                await asyncio.sleep(2 * POLL_SECONDS)
                refund = await self._api.get(f"/v1/refunds/{refund['id']}")
        return refund

    # ------------------------------------------------------------ reorg

    async def reorg(self) -> Session:
        session = await self._open("15.00")
        async with self._story.step("A second payment, whose block a reorg removes") as step:
            units = int(session["payment"]["amount_units"])
            customer = (await self._chain.accounts())[CUSTOMER]
            await self._chain.mint(USDC, customer, units)
            address = session["payment"]["address"]
            signed = await self._chain.sign_transfer(USDC, CUSTOMER, address, units)
            await self._chain.send(signed)
            await self._chain.mine()
            await self._until(session, lambda s: s["status"] == "confirming")
            step.note(f"transaction {signed.tx_hash} is seen; now its block disappears")
            await self._chain.reorganise(2)
            gone = await self._until(session, lambda s: s["status"] == "pending")
            step.check("the transfer is retracted", gone["transfers"][0]["status"] == "retracted")
            step.check("nothing counts any more", gone["amount_received"] == "0.00")
            await self._webhook("payment.retracted", session)
        async with self._story.step("The same transaction is mined again, elsewhere") as step:
            await self._chain.send(signed)
            await self._until(session, lambda s: s["status"] == "confirming")
            session = await self._confirm(session, step)
            step.check("the payment is completed", session["status"] == "completed")
            step.check("15.00 is counted once", session["amount_confirmed"] == "15.00")
            step.check("it is one transfer", len(session["transfers"]) == 1)
            history = await self._api.get(f"/v1/payment-sessions/{session['id']}/events")
            names = [event["name"] for event in history["data"]]
            step.check("it was completed once", names.count("payment.completed") == 1, names)
            await self._webhook("payment.completed", session)
        return session

    # ------------------------------------------------------------ looking

    async def final_status(self, session: Session) -> str:
        """As the API says it now."""
        return str((await self._read(session))["status"])

    async def all_webhooks(self) -> int:
        async with self._story.step("Every webhook so far arrived and verified") as step:
            received = self._receiver.received
            ids = [message.message["id"] for message in received]
            step.check("each message came once", len(set(ids)) == len(ids), ids)
            step.check("none was refused", not self._receiver.refused, self._receiver.refused)
            step.note(", ".join(message.type for message in received))
        return len(received)

    async def _webhook(self, kind: str, session: Session) -> Received:
        def wanted(received: Received) -> bool:
            about = received.message["data"]["payment_session_id"] == session["id"]
            return received.type == kind and about

        return await self._receiver.wait_for(wanted, timeout_seconds=SECONDS_MAX)

    async def _read(self, session: Session) -> Session:
        found: Session = await self._api.get(f"/v1/payment-sessions/{session['id']}")
        return found

    async def _until(self, session: Session, wanted: Callable[[Session], bool]) -> Session:
        async with asyncio.timeout(SECONDS_MAX):
            while not wanted(session := await self._read(session)):
                await asyncio.sleep(POLL_SECONDS)
        return session


def _confirmed(blocks: int) -> Callable[[Session], bool]:
    return lambda session: bool(session["confirmations"]["seen"] >= blocks)
