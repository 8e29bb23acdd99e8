"""The API's JSON as a client reads it: what of an answer the oracle is told."""

from datetime import datetime
from typing import Any

from simulation.evidence import Json


def answer_of(what: str, told: dict[str, Any]) -> Json:
    match what:
        case "create_session":
            pay = told["payment"]
            token = pay["token_contract"].lower()
            return {
                "session_id": bare(told["id"]),
                "address": pay["address"].lower(),
                "network": pay["network"],
                "asset": f"eip155:{pay['chain_id']}/erc20:{token}",
                "units": int(pay["amount_units"]),
                "expires_at_us": us_of(told["expires_at"]),
                "pay_by": told["pay_by"],
                "tolerance": told["tolerance"],
            }
        case "cancel_session" | "prove_payer" | "announce":
            return {"session_id": bare(told["id"]), "status": told["status"]}
        case "refund":
            return {
                "refund_id": bare(told["id"]),
                "session_id": bare(told["payment_session_id"]),
                "units": int(told["amount_units"]),
                "destination": told["to_address"].lower(),
                "status": told["status"],
            }
        case "refund_transfer":
            return {
                "refund_id": bare(told["id"]),
                "transfer": bare(told["transfer_id"]),
                "units": int(told["amount_units"]),
                "destination": told["to_address"].lower(),
                "status": told["status"],
            }
        case "accept" | "dismiss" | "assign":
            session = told["payment_session_id"]
            return {
                "transfer": bare(told["id"]),
                "transfer_id": told["chain_transfer_id"],
                "purpose": told["purpose"],
                "resolution": told["resolution"],
                "session_id": session and bare(session),
            }
        case "set_tolerance" | "set_receiving_address":
            return {
                "tolerance": told["tolerance"],
                "address": (told["receiving_address"] or "").lower(),
            }
        case "create_endpoint":
            return {
                "endpoint_id": bare(told["id"]),
                "url": told["url"],
                "secret": told["secret"],
            }
        case "replay":
            return {"delivery_id": bare(told["id"]), "status": told["status"]}
        case _:
            raise AssertionError(f"nobody reads the answer to {what}")


def bare(public_id: str) -> str:
    return public_id.partition("_")[2]


def us_of(moment: str) -> int:
    read = datetime.fromisoformat(moment)
    return int(read.timestamp()) * 1_000_000 + read.microsecond
