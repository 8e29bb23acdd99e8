"""What a merchant keeps in its refund wallet, per network and token.

Shapes  One stream per merchant, mode and asset: two refunds that ask at once meet here, and the
        second sees what the first has taken.
Units   base units of the asset.
Errors  RefundFloatTooSmall says how much is there.
"""

from typing import assert_never
from uuid import UUID

from domain import commands as c
from domain import events as e
from domain.errors import RefundFloatTooSmall
from domain.money import Amount
from domain.values import Value


class RefundFloat(Value):
    top_ups: dict[str, Amount] = {}
    reserved: dict[UUID, Amount] = {}
    # A signed integer: a reorg can take back a top-up that is already spent.
    available_units: int = 0

    @property
    def gap_units(self) -> int:
        """What a reorg took back although it was spent or set aside already."""
        return max(0, -self.available_units)


EMPTY = RefundFloat()


def decide(command: c.FloatCommand, state: RefundFloat | None) -> tuple[e.Event, ...]:
    held = state or EMPTY
    match command:
        case c.TopUpFloat():
            if command.transfer_id in held.top_ups:
                return ()
            return (
                e.FloatToppedUp(
                    at=command.at,
                    transfer_id=command.transfer_id,
                    amount=command.amount,
                    owed=_part(command.amount, held.gap_units),
                ),
            )
        case c.ReverseTopUp():
            amount = held.top_ups.get(command.transfer_id)
            if amount is None:
                return ()
            return (
                e.FloatTopUpReversed(
                    at=command.at,
                    transfer_id=command.transfer_id,
                    amount=amount,
                    missing=_part(amount, amount.units - max(0, held.available_units)),
                ),
            )
        case c.ReserveFloat():
            return _reserve(command, held)
        case c.ReleaseFloat():
            amount = held.reserved.get(command.refund_id)
            if amount is None:
                return ()
            return (
                e.FloatReleased(
                    at=command.at,
                    refund_id=command.refund_id,
                    amount=amount,
                    owed=_part(amount, held.gap_units),
                ),
            )
        case c.SpendFloat():
            amount = held.reserved.get(command.refund_id)
            if amount is None:
                return ()
            return (e.FloatSpent(at=command.at, refund_id=command.refund_id, amount=amount),)
        case c.ReverseSpending():
            if command.refund_id in held.reserved:
                return ()
            return (
                e.FloatSpendingReversed(
                    at=command.at, refund_id=command.refund_id, amount=command.amount
                ),
            )
        case _:
            assert_never(command)


def _part(amount: Amount, units: int) -> Amount:
    """At most `units` of an amount, and never less than nothing."""
    return amount.changed(units=min(amount.units, max(0, units)))


def _reserve(command: c.ReserveFloat, held: RefundFloat) -> tuple[e.Event, ...]:
    if command.refund_id in held.reserved:
        return ()
    if command.amount.units > held.available_units:
        raise RefundFloatTooSmall(
            f"the refund wallet has {max(0, held.available_units)} base units free and the "
            f"refund needs {command.amount.units}; top it up and ask again"
        )
    return (e.FloatReserved(at=command.at, refund_id=command.refund_id, amount=command.amount),)


def evolve(state: RefundFloat | None, event: e.Event) -> RefundFloat:
    held = state or EMPTY
    match event:
        case e.FloatToppedUp():
            return held.changed(
                top_ups={**held.top_ups, event.transfer_id: event.amount},
                available_units=held.available_units + event.amount.units,
            )
        case e.FloatTopUpReversed():
            left = {k: v for k, v in held.top_ups.items() if k != event.transfer_id}
            return held.changed(
                top_ups=left, available_units=held.available_units - event.amount.units
            )
        case e.FloatReserved():
            return held.changed(
                reserved={**held.reserved, event.refund_id: event.amount},
                available_units=held.available_units - event.amount.units,
            )
        case e.FloatReleased():
            return held.changed(
                reserved=_without(held.reserved, event.refund_id),
                available_units=held.available_units + event.amount.units,
            )
        case e.FloatSpendingReversed():  # it was not free before, and is not now
            return held.changed(reserved={**held.reserved, event.refund_id: event.amount})
        case e.FloatSpent():
            return held.changed(reserved=_without(held.reserved, event.refund_id))
        case _:
            raise AssertionError(f"{event.name} is no event of a refund float")


def _without(reserved: dict[UUID, Amount], refund_id: UUID) -> dict[UUID, Amount]:
    return {key: amount for key, amount in reserved.items() if key != refund_id}
