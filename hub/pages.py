"""The plain HTTP pages on the hub's port: health, readiness, metrics, the schemas, and the live page."""

from collections.abc import Callable, Sequence, Set
from http import HTTPStatus
from importlib.resources import files
from typing import Final

import orjson
from websockets.datastructures import Headers
from websockets.http11 import Response

from hub.messages import MAX_ID_CHARS
from hub.schema import CHANNELS
from hub.topics import MAX_TOPIC_CHARS
from hub.wire import SUBPROTOCOLS, Origin

_STATIC: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in ("page", "line", "prices", "texts")},
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_JSON: Final = "application/json"
_SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Pages:
    """Answers GET requests by path.

    Args:
        channels: those of this hub; their schemas are shown.
        reasons_not_ready: why fresh data can't be served; empty when it can.
        reasons_degraded: what else is wrong, although fresh data is served; empty when all is well.
        metrics: the page of figures.
        instruments: what the source tells of its instruments, as JSON.
    """

    def __init__(
        self,
        channels: Set[str],
        reasons_not_ready: Callable[[], Sequence[str]],
        reasons_degraded: Callable[[], Sequence[str]],
        metrics: Callable[[], bytes],
        instruments: Callable[[], bytes] = lambda: b"{}",
    ) -> None:
        self._reasons_not_ready = reasons_not_ready
        self._reasons_degraded = reasons_degraded
        self._metrics = metrics
        self._instruments = instruments
        self._schema = orjson.dumps(_describe(channels))
        static = files("hub") / "static"
        self._static = {path: ((static / name).read_bytes(), kind) for path, (name, kind) in _STATIC.items()}

    def get(self, path: str) -> Response | None:
        """The page at a path, or None."""
        if path in self._static:
            body, kind = self._static[path]
            return _respond(HTTPStatus.OK, body, kind)
        if path == "/healthz":
            return _respond(HTTPStatus.OK, orjson.dumps({"status": "alive"}), _JSON)
        if path == "/readyz":
            reasons = list(self._reasons_not_ready())
            degraded = list(self._reasons_degraded())
            body = orjson.dumps({"ready": not reasons, "reasons": reasons, "degraded": degraded})
            return _respond(HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK, body, _JSON)
        if path == "/metrics":
            return _respond(HTTPStatus.OK, self._metrics(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/instruments":
            return _respond(HTTPStatus.OK, self._instruments(), _JSON)
        if path == "/schema":
            return _respond(HTTPStatus.OK, self._schema, _JSON)
        return None


def _respond(status: HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers(_SECURITY)
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(status.value, status.phrase, headers, body)


def _describe(channels: Set[str]) -> dict[str, object]:
    """Schemas and topic grammar, for programs and people."""
    return {
        "protocol": list(SUBPROTOCOLS),
        "schemas": {name: CHANNELS[name].names for name in CHANNELS if name in channels},
        "fields": {
            name: [
                {"name": field.name, "unit": field.unit, "meaning": field.meaning} for field in CHANNELS[name].fields
            ]
            for name in CHANNELS
            if name in channels
        },
        "origins": {origin.name.lower(): origin.value for origin in Origin},
        "topics": {
            "form": "<channel>:<instrument>",
            "channels": sorted(channels),
            "instrument": "a full code with its exchange, such as 600000.SH",
            "patterns": "* stands for any run of characters of the instrument; @NAME for a named universe",
            "max_chars": MAX_TOPIC_CHARS,
        },
        "max_id_chars": MAX_ID_CHARS,
    }
