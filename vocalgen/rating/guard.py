"""What stands before the study's pages: headers of every answer, and refusals of what does not belong here."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 16_384
"""Bytes of a request's body."""

RATE, BURST = 20.0, 60.0
"""Requests a second of one rater or address in the long run, and at once."""

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


def problem(status: int, reason: object) -> JSONResponse:
    """A refusal."""
    return JSONResponse({"error": str(reason)}, status)


class Headers:
    """Adds `HEADERS` to every answer, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_ENCODED]
            await send(message)

        await self.app(scope, receive, with_headers)


class Limits:
    """Refuses what other sites' pages send, bodies that are too large, and too many requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.left: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                await problem(413, f"a request may have {LARGEST} bytes")(scope, receive, send)
                return

        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, send)

    def _refusal(self, request: Request) -> Response | None:
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD"):
            if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
                return problem(403, "this request comes from another site")
            if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return problem(403, "this request comes from another site")
        if not self._allowed(request):
            return problem(429, "too many requests; wait a moment")
        return None

    def _allowed(self, request: Request) -> bool:
        """A bucket a rater, and one an address for requests without a token, that fills with time."""
        parts = request.url.path.split("/")
        who = parts[2] if len(parts) > 2 and parts[1] in ("api", "r") else str(request.client and request.client.host)
        now = time.monotonic()
        if len(self.left) > 10_000:
            self.left = {name: entry for name, entry in self.left.items() if now - entry[1] < BURST / RATE}
        amount, since = self.left.get(who, (BURST, now))
        amount = min(BURST, amount + RATE * (now - since)) - 1
        self.left[who] = (max(amount, 0.0), now)
        return amount >= 0
