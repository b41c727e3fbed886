"""The door of the dashboard: reading only, from this machine only, or with a token.

A page on the internet can point a name of its own at 127.0.0.1 and read a local server through the visitor's browser (DNS
rebinding). The `Host` header then carries that name, so on loopback only loopback's names are served.
"""

from __future__ import annotations

import hmac
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from crypy.runtime.loopback import is_loopback

COOKIE: Final = "crypy_token"
HEADERS: Final[dict[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Wraps the application: refuses what may not pass, and puts the protective headers on every answer.

    With a token every request needs it (as a bearer, or once as `?token=`, which becomes a cookie); without one the
    `Host` must be a name of loopback.
    """

    def __init__(self, app: ASGIApp, token: str = "") -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:  # ASGI's own type
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refusal(Request(scope))
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        if request.method not in ("GET", "HEAD"):
            text = f"{request.method} is not possible here: the dashboard only shows\n"
            return PlainTextResponse(text, 405, {"allow": "GET, HEAD"})
        if not self._token:
            host = request.headers.get("host", "")
            if is_loopback(host_name(host)):
                return None
            return PlainTextResponse(f"Host {host!r} is not served; use 127.0.0.1 or localhost\n", 421)
        if self._is_token(request.query_params.get("token", "")):
            welcome = RedirectResponse(request.url.path, 303)
            welcome.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return welcome
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_token(bearer) or self._is_token(request.cookies.get(COOKIE, "")):
            return None
        return PlainTextResponse("a token is needed: open this page with ?token=...\n", 401)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def host_name(host: str) -> str:
    """The name in a `Host` header, without port and brackets.

    >>> host_name("[::1]:8080"), host_name("localhost:80")
    ('::1', 'localhost')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
