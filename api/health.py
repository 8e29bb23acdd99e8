"""Is this process alive; can it do its work; if not, what is missing.

Shapes  /livez says 200 as long as the loop turns. /readyz asks every check at once, each for at
        most CHECK_SECONDS_MAX; 503 names each required one that failed.
"""

import asyncio

import structlog
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api.problems import RETRY_AFTER_SECONDS, Problem
from api.services import Gateway, HealthCheck
from application.ports import Unavailable

log = structlog.get_logger(__name__)
router = APIRouter(tags=["Health"])
CHECK_SECONDS_MAX = 2


@router.get("/livez", response_model=None, summary="Liveness")
async def livez() -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive"})


@router.get("/readyz", response_model=None, summary="Readiness")
async def readyz(gateway: Gateway) -> Response:
    """The process and everything it needs answer."""
    checks = gateway.health
    answers = await asyncio.gather(*(_failure(check) for check in checks))
    failed = [(c, why) for c, why in zip(checks, answers, strict=True) if why is not None]
    missing = tuple((check.name, why) for check, why in failed if check.required)
    if missing:
        reasons = "; ".join(f"{name} {why}" for name, why in missing)
        raise Problem(
            503,
            "service.unavailable",
            f"not ready: {reasons}",
            details=missing,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
    said = {check.name: "ok" for check in checks} | {check.name: why for check, why in failed}
    return JSONResponse({"status": "degraded" if failed else "ready", "checks": said})


async def _failure(check: HealthCheck) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            await check.check()
    except TimeoutError:
        return f"did not answer within {CHECK_SECONDS_MAX} seconds"
    except Unavailable:
        return "is not available"
    except Exception:
        log.exception("health_check_failed", check=check.name)
        return "is not available"
    return None
