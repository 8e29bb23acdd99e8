"""What a merchant sets over HTTP: how much may be missing.

Shapes  The wallet that sessions share is shown and not set here: whoever has a key could send
        all later payments elsewhere. gateway/operate_merchants.py sets it.
"""

from starlette.responses import Response

from api.bodies import NewTolerance, SettingsChange
from api.routing import gateway_router, json_response, needs
from api.services import Gateway, Who
from api.views import MICRO_PLACES, PERCENT_PLACES, SettingsView
from application.merchant_settings import NewSettings
from domain.errors import AmountMalformed
from domain.merchant import Tolerance
from domain.money import units_of

router = gateway_router("/v1/settings", "Settings")


@router.get(
    "",
    responses={200: {"model": SettingsView}},
    response_model=None,
    openapi_extra=needs("read"),
)
async def get_settings(who: Who, gateway: Gateway) -> Response:
    """The settings of the key's mode."""
    merchant = await gateway.settings.find(who)
    return json_response(gateway.views.settings(merchant, who.mode).encoded())


@router.put(
    "",
    responses={200: {"model": SettingsView}},
    response_model=None,
    openapi_extra=needs("write"),
)
async def change_settings(body: SettingsChange, who: Who, gateway: Gateway) -> Response:
    """Set them for sessions opened from now on. What is left out stays as it is."""
    tolerance = None if body.tolerance is None else _tolerance(body.tolerance)
    new = NewSettings(tolerance=tolerance)
    merchant = await gateway.settings.change(new, who)
    return json_response(gateway.views.settings(merchant, who.mode).encoded())


def _tolerance(asked: NewTolerance) -> Tolerance:
    return Tolerance(
        absolute_micros=_number("tolerance.absolute", asked.absolute, MICRO_PLACES),
        basis_points=_number("tolerance.percent", asked.percent, PERCENT_PLACES),
    )


def _number(field: str, text: str, places: int) -> int:
    try:
        return units_of(text, places)
    except AmountMalformed as error:
        raise AmountMalformed(error.message, field=field) from error
