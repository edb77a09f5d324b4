"""What every request passes: who asks, how much, how large; and the headers that every answer carries.

Plain ASGI: nothing is buffered, so that streams stay streams, and a look at one customer costs microseconds here.
"""

from __future__ import annotations

import math
import time
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segment_api.access import LOCAL, Caller, Tokens, is_loopback, needed
from segment_api.limits import MAX_BODY, Pace
from segment_api.metrics import Metrics
from segment_api.problems import document

COOKIE: Final = "segstream_session"
_FAILURES: Final = 5.0
"""Wrong tokens per second and address that are answered with a reason."""
_TOO_LARGE: Final = f"A request has at most {MAX_BODY} bytes."
SECURITY: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_SEALS: Final = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]
_UNKEPT: Final = (b"cache-control", b"no-store")


class Refused(Exception):
    """A request that does not pass: status, title, detail and more headers of the answer."""

    def __init__(self, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers or {}


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, tokens: Tokens, rate: float, metrics: Metrics) -> None:
        self._app = app
        self._tokens = tokens
        self._pace = Pace(rate)
        self._failures = Pace(_FAILURES)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500

        async def sealed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *_SEALS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(_UNKEPT)
                message["headers"] = headers
            await send(message)

        try:
            self._admit(scope)
            await self._app(scope, _bounded(receive), sealed)
        except Refused as refused:
            if _wants_page(scope, refused.status):
                headers = {"Location": f"/login?next={quote(scope['path'])}"}
                await document(303, "Sign in", refused.detail, headers)(scope, receive, sealed)
            else:
                await document(refused.status, refused.title, refused.detail, refused.headers)(scope, receive, sealed)
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            self._metrics.duration.labels(route).observe(time.perf_counter() - begun)
            self._metrics.requests.labels(scope["method"], route, status).inc()

    def _admit(self, scope: Scope) -> None:
        """Raise Refused where the caller may not; else her name is in the scope's state."""
        headers = Headers(scope=scope)
        wanted = needed(scope["method"], scope["path"])
        caller = self._caller(scope, headers)
        scope.setdefault("state", {})["caller"] = caller
        if wanted is None:
            return
        host = _host(scope)
        if caller is None:
            pace = self._failures if "authorization" in headers else self._pace
            if wait := pace.wait(host, time.monotonic()):
                raise _too_many(wait)
            raise Refused(401, "Unauthorized", self._how(), {"WWW-Authenticate": 'Bearer realm="segstream"'})
        if not caller.may(wanted):
            raise Refused(403, "Forbidden", f"This needs the scope {wanted!r}; {caller.name!r} does not have it.")
        if scope["method"] not in ("GET", "HEAD") and not _same_origin(headers):
            raise Refused(403, "Forbidden", "Another site has sent this; changes are made from our own pages only.")
        if wait := self._pace.wait(caller.name if caller is not LOCAL else host, time.monotonic()):
            raise _too_many(wait)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise Refused(413, "Content Too Large", _TOO_LARGE)

    def _caller(self, scope: Scope, headers: Headers) -> Caller | None:
        if not self._tokens.callers:
            # A page of another site can make a browser here ask us under a name of its own: the name must be this machine's.
            name = urlsplit("//" + headers.get("host", "")).hostname
            at_home = is_loopback(_host(scope)) and (name == "localhost" or is_loopback(name))
            return LOCAL if at_home and "x-forwarded-for" not in headers else None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._tokens.holder(token.strip())
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return self._tokens.session(morsel.value, int(time.time())) if morsel else None

    def _how(self) -> str:
        if self._tokens.callers:
            return "Send `Authorization: Bearer <token>`; `segstream tokens new` makes one."
        return "Without SEGSTREAM_API_TOKENS only this very machine is served; `segstream tokens new` makes a token."


def _bounded(receive: Receive) -> Receive:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY:
            raise HTTPException(413, _TOO_LARGE)  # of this kind, because the framework lets it pass
        return message

    return counted


def _too_many(wait: float) -> Refused:
    return Refused(
        429,
        "Too Many Requests",
        f"Wait {wait:.1f} s; SEGSTREAM_API_RATE says how many a caller may ask.",
        {"Retry-After": str(math.ceil(wait))},
    )


def _host(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return False
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _wants_page(scope: Scope, status: int) -> bool:
    """Whether a browser asked for a page and may be sent to sign in."""
    accepts = Headers(scope=scope).get("accept", "")
    return (
        status == 401 and scope["method"] == "GET" and "text/html" in accepts and not scope["path"].startswith("/v1/")
    )
