"""Stylesheets and scripts, small and our own, kept in memory.

Shapes  a name carries a hash of its content ("checkout.1f2e3d4c.css"), so it may be cached for
        ever and a deploy is seen at once.
Errors  an unknown name is a 404.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
PREFIX = "/assets/"


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    media_type: str


class Assets:
    def __init__(self, folder: Path = _FOLDER) -> None:
        self._urls: dict[str, str] = {}
        self._found: dict[str, Asset] = {}
        for path in sorted(folder.iterdir()):
            if path.suffix not in _MEDIA_TYPES:
                continue
            body = path.read_bytes()
            name = f"{path.stem}.{hashlib.sha256(body).hexdigest()[:12]}{path.suffix}"
            self._urls[path.name] = PREFIX + name
            self._found[name] = Asset(body, _MEDIA_TYPES[path.suffix])

    def url(self, name: str) -> str:
        return self._urls[name]

    def size(self) -> int:
        return sum(len(asset.body) for asset in self._found.values())

    def response(self, name: str) -> Response:
        asset = self._found.get(name)
        if asset is None:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(asset.body, media_type=asset.media_type, headers=headers)
