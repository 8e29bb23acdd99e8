"""The OpenAPI document: FastAPI's own, with what it cannot know added.

Shapes  every operation under /v1 lists the problems it may answer, its scope and the API key;
        nothing reachable is left out, and a test holds that.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.positions import HEADER, OPENAPI_HEADER
from api.problems import MEDIA_TYPE

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457, with an `error` member whose `type` is a permanent code.",
    "required": ["type", "title", "status", "detail", "instance", "error"],
    "properties": {
        "type": {"type": "string", "description": "Where /docs explains the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["type", "message", "details", "request_id"],
            "properties": {
                "type": {"type": "string", "examples": ["refund.exceeds_received"]},
                "message": {"type": "string"},
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "issue"],
                        "properties": {
                            "field": {"type": "string"},
                            "issue": {"type": "string"},
                        },
                    },
                },
                "request_id": {"type": "string"},
            },
        },
    },
}
_ALWAYS = {
    "401": "No API key, or one that opens nothing",
    "403": "The API key lacks the scope",
    "422": "A value is wrong; details names the field",
    "500": "Our mistake",
    "503": "Something we need does not answer; Retry-After says when to try again",
}
_WITH_BODY = {
    "400": "No well-formed JSON, or a header is missing",
    "409": "Not possible as things stand",
    "413": "The body is too large",
    "415": "The body is not JSON",
}
_WITH_ID = {"404": "Unknown, or somebody else's", "409": "Not possible as things stand"}
_ASKED_ON_CHAIN = {"429": "Too many signatures were checked on chain; Retry-After says when again"}
_UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")


def install(app: FastAPI, public_base_url: str) -> None:
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_document(app, public_base_url))
        return made

    openapi_of: Callable[[], dict[str, Any]] = openapi
    app.openapi = openapi_of  # type: ignore[method-assign] # FastAPI's documented way to extend it


def _document(app: FastAPI, public_base_url: str) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": public_base_url}],
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _UNUSED_SCHEMAS:
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, sk_test_... or sk_live_..., with the scopes it was "
            "given: read, write, refund.",
        }
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["summary"] = operation["summary"].capitalize()
            if path.startswith("/v1/") and method != "get":
                _add_position(operation)
            _add_problems(path, operation)
    return document


def _add_position(operation: dict[str, Any]) -> None:
    for answer in operation["responses"].values():
        answer.setdefault("headers", {})[HEADER] = OPENAPI_HEADER


def _add_problems(path: str, operation: dict[str, Any]) -> None:
    if not path.startswith("/v1/"):
        if path == "/readyz":
            operation["responses"]["503"] = _answer("Something needed does not answer")
        return
    problems = dict(_ALWAYS)
    if "requestBody" in operation:
        problems |= _WITH_BODY
    if "{" in path:
        problems |= _WITH_ID
    if path.endswith("/payers"):
        problems |= _ASKED_ON_CHAIN
    for status, meaning in sorted(problems.items()):
        operation["responses"][status] = _answer(meaning)


def _answer(meaning: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": meaning, "content": {MEDIA_TYPE: {"schema": schema}}}
