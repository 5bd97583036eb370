"""What stands before the study's pages: headers of every answer, and refusals of what does not belong here."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vocalgen.rating.address import host_of

LARGEST, PATIENCE = 16_384, 20.0
"""Bytes of a request's body, and seconds in which it has to come."""

READING = ("GET", "HEAD")
PORT = re.compile(r":\d*$")

RATE, BURST = 20.0, 60.0
"""Requests a second of one caller in the long run, and at once."""

REMEMBERED = 10_000
"""Callers whose requests are counted; beyond that, who asked longest ago is forgotten."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: nothing from elsewhere, no frames, and no link of a rater left in logs of other sites."""

_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


def problem(status: int, reason: object, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A refusal."""
    return JSONResponse({"error": str(reason)}, status, headers)


class Headers:
    """Adds `HEADERS` to every answer that does not have them, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                names = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(entry for entry in _ENCODED if entry[0] not in names)]
            await send(message)

        await self.app(scope, receive, with_headers)


class Limits:
    """Refuses other hosts (DNS rebinding), what other sites' pages send (CSRF), bodies that are too large or too slow,
    and too many requests.

    Args:
        origins: of the study's own pages, see `address.origin`; the names in them are the hosts.
        caller: whose requests are counted together, for those whom the study knows; None for strangers, who are counted
            by address.
        fixed: whether what is read at a path is the same for all and costs nothing; such requests are not counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Collection[str],
        caller: Callable[[Request], str | None],
        fixed: Callable[[str], bool],
    ) -> None:
        self.app, self.origins, self.caller, self.fixed = app, origins, caller, fixed
        self.hosts = frozenset(map(host_of, origins))
        self.left: dict[tuple[bool, str], tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if request.method in READING:  # whose bodies nobody looks at
            await self.app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(_body(request), PATIENCE)
        except ClientDisconnect:
            return
        except asyncio.TimeoutError:
            await problem(408, "the request was not sent to its end")(scope, receive, send)
            return
        if body is None:
            await problem(413, f"a request may have {LARGEST} bytes")(scope, receive, send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, send)

    def _refusal(self, request: Request) -> Response | None:
        if PORT.sub("", request.headers.get("host", "").lower()) not in self.hosts:
            return problem(400, "the study is not reached by this name, only by what `rate serve --address` says")
        if request.method not in READING:
            origin = request.headers.get("origin")
            other = origin is not None and origin not in self.origins
            if other or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return problem(403, "this request comes from another site")
        fixed = request.method in READING and self.fixed(request.url.path)
        if not fixed and not self._allowed(request):
            return problem(429, "too many requests; wait a moment")
        return None

    def _allowed(self, request: Request) -> bool:
        """A bucket a caller, which fills with time and from which every request takes one."""
        caller = self.caller(request)
        who = (True, caller) if caller is not None else (False, str(request.client and request.client.host))
        now = time.monotonic()
        amount, since = self.left.pop(who, (BURST, now))
        amount = min(BURST, amount + RATE * (now - since)) - 1
        self.left[who] = (max(amount, 0.0), now)  # behind all others, who asked before
        if len(self.left) > REMEMBERED:
            del self.left[next(iter(self.left))]
        return amount >= 0


async def _body(request: Request) -> bytes | None:
    """None: it is too large."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            return None
    return body
