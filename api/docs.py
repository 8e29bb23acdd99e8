"""The API reference as a page of our own, rendered from the OpenAPI document.

Shapes  one HTML page and one stylesheet; no script, nothing from elsewhere, so it works offline
        and under a strict Content-Security-Policy. Every code an error may carry is listed,
        under the anchor that the `type` of a problem points to.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.problems import API_CODES, refused
from api.routing import SCOPE
from domain.errors import Refusal

router = APIRouter(include_in_schema=False)
_FOLDER = Path(__file__).parent / "templates"
_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _marked(text: str) -> Markup:
    """`code` as code; everything else escaped."""
    parts = text.split("`")
    pieces = (
        Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts)
    )
    return Markup().join(pieces)


_TEMPLATES.filters["marked"] = _marked
_CSP = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_STYLE = (_FOLDER / "docs.css").read_bytes()
_SAMPLE_KEY = "sk_test_YOUR_KEY"


@router.get("/docs", response_model=None)
async def docs(request: Request) -> Response:
    """The reference for people."""
    document = request.app.openapi()
    page = _page(json.dumps(document))
    return HTMLResponse(page, headers={"Content-Security-Policy": _CSP})


@router.get("/docs.css", response_model=None)
async def style() -> Response:
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})


@lru_cache(maxsize=2)
def _page(document_json: str) -> str:
    document = json.loads(document_json)
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            group = groups.setdefault(operation["tags"][0], [])
            group.append(_operation(document, method, path, operation))
    return _TEMPLATES.get_template("docs.html").render(
        info=document["info"],
        server=document["servers"][0]["url"],
        groups=groups,
        codes=sorted(_codes()),
    )


def _operation(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any]
) -> dict[str, Any]:
    body = _schema(document, operation.get("requestBody"))
    success = next(s for s in operation["responses"] if s.startswith("2"))
    answer = _schema(document, operation["responses"][success])
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "title": operation["summary"],
        "description": operation.get("description", ""),
        "scope": operation.get(SCOPE),
        "parameters": [_parameter(one) for one in operation.get("parameters", ())],
        "body": list(_fields(document, body)),
        "success": success,
        "answer": list(_fields(document, _item(document, answer))),
        "curl": _curl(document, method.upper(), path, operation, body),
    }


def _schema(document: dict[str, Any], holder: dict[str, Any] | None) -> dict[str, Any]:
    content = (holder or {}).get("content", {})
    for media in content.values():
        return _resolved(document, media.get("schema", {}))
    return {}


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    return found


def _item(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a list is a list of; the list's own members say nothing new."""
    items = schema.get("properties", {}).get("data", {}).get("items")
    return _resolved(document, items) if items else schema


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterable[dict[str, Any]]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        yield {
            "name": name,
            "type": _type(document, field),
            "required": name in required,
            "description": field.get("description", ""),
        }


def _type(document: dict[str, Any], field: dict[str, Any]) -> str:
    if "$ref" in field:
        resolved = _resolved(document, field)
        return str(resolved.get("title", "object")).removesuffix("View").lower()
    if "anyOf" in field:
        return " or ".join(_type(document, one) for one in field["anyOf"])
    if "enum" in field:
        return " | ".join(field["enum"])
    if "const" in field:
        return f'"{field["const"]}"'
    if field.get("type") == "array":
        return f"list of {_type(document, field.get('items', {}))}"
    return str(field.get("format", field.get("type", "any")))


def _parameter(one: dict[str, Any]) -> dict[str, Any]:
    schema = one.get("schema", {})
    return {
        "name": one["name"],
        "where": one["in"],
        "required": one.get("required", False),
        "description": one.get("description") or schema.get("description", ""),
    }


def _curl(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any], body: Any
) -> str:
    server = document["servers"][0]["url"]
    words = [f"curl {server}{path}" if method == "GET" else f"curl -X {method} {server}{path}"]
    if SCOPE in operation:
        words.append(f'-H "Authorization: Bearer {_SAMPLE_KEY}"')
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "Idempotency-Key" in names:
        words.append('-H "Idempotency-Key: $(uuidgen)"')
    if body:
        words.append('-H "Content-Type: application/json"')
        words.append(f"-d '{json.dumps(_example(body))}'")
    return " \\\n  ".join(words)


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    shown = {}
    for name, field in schema.get("properties", {}).items():
        if field.get("examples"):
            shown[name] = field["examples"][0]
        elif name in schema.get("required", ()):
            shown[name] = "https://shop.example/webhooks" if name == "url" else "..."
    return shown


def _codes() -> Iterable[tuple[str, int, str]]:
    statuses = {
        "api_key.missing": 401,
        "api_key.invalid": 401,
        "api_key.scope_missing": 403,
        "idempotency_key_missing": 400,
        "idempotency_key_malformed": 400,
        "request.body_malformed": 400,
        "request.body_too_large": 413,
        "request.body_too_slow": 408,
        "request.media_type_unsupported": 415,
        "resource.unknown": 404,
        "method.not_allowed": 405,
        "service.unavailable": 503,
        "view.behind": 503,
        "internal": 500,
    }
    for code, meaning in API_CODES.items():
        yield code, statuses.get(code, 422), meaning
    for refusal in Refusal.__subclasses__():
        meaning = (refusal.__doc__ or "").strip().split("\n")[0]
        yield refusal.code, refused(refusal("")).status_code, meaning
