"""The HTTP GET pages beside the feed: the dashboard, previews of mails, health, readiness and metrics."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from importlib import resources
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from notifier.feed.auth import Tokens
from notifier.feed.protocol import Readiness, Role
from notifier.settings import FeedSettings, is_loopback

_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
MAX_OFFERS = 20
"""Previews of mails that wait to be read; beyond that the oldest one is withdrawn."""

_GUARD = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# A mail has its own styles and any HTML that its author wrote: no scripts, no requests to any host, no origin.
_MAIL_GUARD = {
    **_GUARD,
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
}

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Caller(Protocol):
    """The connection of a request."""

    network: str

    async def linger(self, seconds: float) -> None:
        """Wait before an answer is sent, at most until the connection is closed."""


class Pages:
    """Answers every HTTP request, except those that open the feed."""

    def __init__(
        self,
        settings: FeedSettings,
        tokens: Tokens,
        readiness: Callable[[], Readiness],
        metrics: Callable[[], Awaitable[bytes]],
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._readiness = readiness
        self._metrics = metrics
        self._offers: dict[str, bytes] = {}
        self._pages = dict(_dashboard())

    def offer(self, html: str) -> str:
        """Serve the HTML of a mail once, under the returned path, which nobody can guess.

        With a path of its own the mail is not subject to the strict policy of the dashboard, which a `srcdoc` frame
        would inherit.
        """
        path = f"/preview/{secrets.token_urlsafe(24)}"
        self._offers[path] = html.encode()
        if len(self._offers) > MAX_OFFERS:
            del self._offers[next(iter(self._offers))]
        return path

    async def answer(self, request: Request, caller: Caller) -> Response | None:
        """Answer a request; return None to let it become a WebSocket."""
        try:
            path = urlsplit(request.path).path
        except ValueError:
            return _text(HTTPStatus.BAD_REQUEST, "this path is malformed\n")
        refusal = self._refusal(request.headers)
        if refusal or path == "/feed":
            return refusal or self._feed(request.headers)
        if path == "/metrics":
            return await self._scrape(await self._role(request.headers, caller))
        if path == "/readyz":
            return self._ready(await self._role(request.headers, caller))
        return self._page(path)

    async def _role(self, headers: Headers, caller: Caller) -> Role | None:
        """Return the role of the bearer token; a wrong token delays the return."""
        token = _bearer(headers)
        role = self._tokens.role(token)
        if role is None:
            now = asyncio.get_running_loop().time()
            await caller.linger(self._tokens.refused(token, caller.network, now))
        return role

    def _ready(self, role: Role | None) -> Response:
        """Show everything to viewers and operators, and only states to anyone else: health checks have no token."""
        readiness = self._readiness()
        status = HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(status, readiness if role else _states(msgspec.to_builtins(readiness)))

    def _page(self, path: str) -> Response:
        if path in self._pages:
            return _response(HTTPStatus.OK, *self._pages[path])
        if path in self._offers:
            return _response(HTTPStatus.OK, "text/html; charset=utf-8", self._offers.pop(path), _MAIL_GUARD)
        if path == "/healthz":
            return _json(HTTPStatus.OK, {"status": "ok"})
        return _text(HTTPStatus.NOT_FOUND, "not found\n")

    async def _scrape(self, role: Role | None) -> Response:
        """Show the metrics to viewers and operators only: they reveal how much mail is sent, and by which account."""
        if role is None:
            refusal = _text(HTTPStatus.UNAUTHORIZED, "a viewer's or operator's token is needed, as a bearer token\n")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return _response(HTTPStatus.OK, _PROMETHEUS, await self._metrics())

    def _refusal(self, headers: Headers) -> Response | None:
        """Refuse foreign host names unless tokens are set: a web page could point a name of its own at loopback."""
        hosts = headers.get_all("Host")
        named = _named(hosts[0]) if len(hosts) == 1 else None
        if named is None:
            return _text(HTTPStatus.BAD_REQUEST, "exactly one Host header with a valid name is needed\n")
        settings = self._settings
        if settings.insecure or settings.viewer_token or settings.operator_token:
            return None
        if is_loopback(named) or any(urlsplit(origin).netloc == hosts[0] for origin in settings.allowed_origins):
            return None
        return _text(HTTPStatus.FORBIDDEN, "host name not served: add its origin to NOTIFIER_ALLOWED_ORIGINS\n")

    def _feed(self, headers: Headers) -> Response | None:
        if "websocket" not in ", ".join(headers.get_all("Upgrade")).lower():
            return _text(HTTPStatus.UPGRADE_REQUIRED, "this is a WebSocket: see docs/feed.md for how to connect\n")
        origins = headers.get_all("Origin")
        if len(origins) > 1:
            return _text(HTTPStatus.BAD_REQUEST, "more than one Origin header\n")
        if any(origins) and not self._knows_origin(origins[0], headers["Host"]):
            return _text(HTTPStatus.FORBIDDEN, "origin not allowed: add it to NOTIFIER_ALLOWED_ORIGINS\n")
        return None

    def _knows_origin(self, origin: str, host: str) -> bool:
        return _authority(origin) == host or origin in self._settings.allowed_origins


def _authority(url: str) -> str | None:
    """Return the host and port of a URL; None if it is malformed."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return None


def _named(host: str) -> str | None:
    """Return the name in a Host header without its port; None if it is malformed."""
    return urlsplit(f"//{host}").hostname or "" if _authority(f"//{host}") == host else None


def _bearer(headers: Headers) -> str | None:
    """Return the one bearer token (RFC 6750 section 2.1), read as UTF-8; None if there is no such header, or several.

    The library reads headers as Latin-1, in which some UTF-8 letters end in a space.
    """
    given = headers.get_all("Authorization")
    kind, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return (
        token.strip(" \t").encode("latin-1", errors="replace").decode(errors="replace")
        if kind.lower() == "bearer"
        else None
    )


def _states(part: Any) -> Any:
    """Reduce a part of the readiness to its states: no server's reply, no host name, no reason."""
    if isinstance(part, list):
        return [_states(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {"state": part["state"]} if "state" in part else {name: _states(each) for name, each in part.items()}


def _dashboard() -> Iterator[tuple[str, tuple[str, bytes]]]:
    for file in (resources.files("notifier") / "dashboard").iterdir():
        path = "/" if file.name == "index.html" else f"/{file.name}"
        if type_ := _TYPES.get(PurePath(file.name).suffix):  # other files are for tools only
            yield path, (type_, file.read_bytes())


def _response(
    status: HTTPStatus, content_type: str, body: bytes, guard: Mapping[str, str] = MappingProxyType(_GUARD)
) -> Response:
    headers = Headers({"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close", **guard})
    return Response(status.value, status.phrase, headers, body)


def _text(status: HTTPStatus, text: str) -> Response:
    return _response(status, "text/plain; charset=utf-8", text.encode())


def _json(status: HTTPStatus, value: Any) -> Response:
    return _response(status, "application/json", msgspec.json.encode(value) + b"\n")
