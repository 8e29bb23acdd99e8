"""What is set for a merchant: how much may be missing, and the wallet customers pay to.

Shapes  The tolerance a merchant sets by itself; the wallet only the operator does, for whoever
        may change it may send all later payments elsewhere.
        One mode at a time; what is not named stays as it is. Both are written in one append.
        They count for sessions opened from then on; the wallet before stays watched for ever.
Units   tolerance in millionths of a dollar and in hundredths of a percent.
Errors  ToleranceOutOfRange, AddressMalformed, AddressForbidden.
"""

from dataclasses import dataclass

from application.callers import Caller
from application.deciders import MERCHANT
from application.handling import Handler, UnitOfWork
from application.ports import ParseAddress
from application.reads import WatchList
from domain import commands as c
from domain.errors import AddressForbidden, AddressMalformed
from domain.merchant import Merchant, Tolerance
from domain.networks import ZERO_ADDRESS, NetworkBook

_FIELD = "receiving_address"


@dataclass(frozen=True, slots=True)
class NewSettings:
    tolerance: Tolerance | None = None
    receiving_address: str | None = None  # as people write it


class MerchantSettings:
    def __init__(
        self,
        handler: Handler,
        networks: NetworkBook,
        watch: WatchList,
        parse_address: ParseAddress,
    ) -> None:
        self._handler = handler
        self._networks = networks
        self._watch = watch
        self._parse_address = parse_address

    async def find(self, caller: Caller) -> Merchant:
        merchant = await self._handler.load(MERCHANT, caller.merchant_id)
        assert merchant is not None, "a key belongs to a merchant"
        return merchant

    async def change(self, new: NewSettings, caller: Caller) -> Merchant:
        address = await self._address(new.receiving_address, caller)
        tolerance = new.tolerance

        async def work(unit: UnitOfWork) -> Merchant:
            merchant = await unit.load(MERCHANT, caller.merchant_id)
            if tolerance is not None:
                tolerate = c.SetTolerance(at=unit.now, mode=caller.mode, **dict(tolerance))
                merchant = await unit.decide(MERCHANT, caller.merchant_id, tolerate)
            if address is not None:
                receive = c.SetReceivingAddress(at=unit.now, mode=caller.mode, address=address)
                merchant = await unit.decide(MERCHANT, caller.merchant_id, receive)
            assert merchant is not None, "a key belongs to a merchant"
            return merchant

        return await self._handler.execute(caller.context(), work)

    async def _address(self, text: str | None, caller: Caller) -> str | None:
        """In lower case; refused where money would be lost, or would be another's."""
        if text is None:
            return None
        try:
            address = self._parse_address(text)
        except AddressMalformed as error:
            raise AddressMalformed(error.message, field=_FIELD) from error
        if address == ZERO_ADDRESS:
            raise AddressForbidden("the zero address would burn the money", field=_FIELD)
        for network in self._networks.networks:
            if network.mode != caller.mode:
                continue
            if network.token_at(address) is not None:
                raise AddressForbidden(
                    "this is a token contract: it would keep the money for ever", field=_FIELD
                )
            owner = await self._watch.owner_of(network.name, address)
            own = owner is not None and owner.merchant_id == caller.merchant_id
            if owner is not None and not (own and owner.purpose == "merchant_wallet"):
                raise AddressForbidden(
                    "the gateway has given this address another purpose already", field=_FIELD
                )
        return address
