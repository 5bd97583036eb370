"""The study as a web application: one page, a small JSON interface, and what keeps strangers out.

    GET  /r/TOKEN                     the page of a rater
    GET  /api/TOKEN                   where the rater stands and what comes next
    POST /api/TOKEN/consent
    POST /api/TOKEN/pages/PLACE       {"values": {emotion: number}, "plays": n, "seconds": x}
    POST /api/TOKEN/withdraw
    GET  /api/TOKEN/clips/PLACE       the sound of a page
    GET  /experiment, /api            the experimenter's page and its numbers, with the key as bearer token

Nothing of a request becomes a path, HTML or SQL: pages are fixed files, values travel as JSON and are shown as text.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vocalgen.errors import VocalgenError
from vocalgen.rating.store import Store, UnknownRater
from vocalgen.rating.study import CLIPS, Study

LARGEST = 16_384
"""Bytes of a request's body."""

RATE, BURST = 20.0, 60.0
"""Requests a second of one rater or address in the long run, and at once."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer: nothing from elsewhere, no frames, and no link of a rater left in logs of other sites."""

FILES = {
    "rate.html": "text/html; charset=utf-8",
    "rate.js": "text/javascript; charset=utf-8",
    "rate.css": "text/css; charset=utf-8",
    "rate.svg": "image/svg+xml",
    "experiment.html": "text/html; charset=utf-8",
    "experiment.js": "text/javascript; charset=utf-8",
}


def make_app(study: Study, key: str, hosts: Sequence[str]) -> Starlette:
    """The application.

    Args:
        key: of the experimenter.
        hosts: names under which the server is reached; requests for others are refused (DNS rebinding).
    """
    store = Store(study)
    rater = _Rater(store)
    routes = [
        Route("/r/{token}", _file("rate.html")),
        Route("/experiment", _file("experiment.html")),
        *(Route(f"/static/{name}", _file(name)) for name in FILES if not name.endswith(".html")),
        Route("/api", _numbers(store, key)),
        Route("/api/{token}", rater.state),
        Route("/api/{token}/consent", rater.consent, methods=["POST"]),
        Route("/api/{token}/withdraw", rater.withdraw, methods=["POST"]),
        Route("/api/{token}/pages/{place:int}", rater.save, methods=["POST"]),
        Route("/api/{token}/clips/{place:int}", rater.clip),
    ]
    middleware = [
        Middleware(_Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(_Limits),
    ]
    handlers: dict[Any, Callable[[Request, Any], Response]] = {
        UnknownRater: lambda request, error: _problem(404, error),
        VocalgenError: lambda request, error: _problem(400, error),
        sqlite3.OperationalError: lambda request, error: _problem(503, "the answer could not be stored; try again"),
    }
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


class _Rater:
    """What a rater's page asks for."""

    def __init__(self, store: Store) -> None:
        self.store, self.study = store, store.study

    def state(self, request: Request) -> Response:
        token = request.path_params["token"]
        settings, stage = self.study.settings, self.store.stage(token)
        values: dict[str, Any] = {
            "stage": stage,
            "title": settings.title,
            "consent": settings.consent,
            "instructions": settings.instructions,
            "low": settings.low,
            "high": settings.high,
        }
        page = self.store.next_page(token) if stage == "pages" else None
        if page is not None:
            kind = "practice" if page.kind == "practice" else "rating"  # a repeat is not to be told from the first time
            values["page"] = {"place": page.place, "pages": page.pages, "kind": kind, "emotions": page.emotions}
        if stage == "done":
            values["code"] = self.store.code(token)
        return JSONResponse(values)

    def consent(self, request: Request) -> Response:
        self.store.consent(request.path_params["token"])
        return self.state(request)

    def withdraw(self, request: Request) -> Response:
        self.store.withdraw(request.path_params["token"])
        return self.state(request)

    async def save(self, request: Request) -> Response:
        try:
            body = json.loads(await request.body())
            values, plays, seconds = body["values"], body["plays"], float(body["seconds"])
            given = {str(name): value for name, value in values.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise VocalgenError("values, plays and seconds are needed, as JSON") from error
        path = request.path_params
        await run_in_threadpool(self.store.save, path["token"], path["place"], given, plays, seconds)
        return await run_in_threadpool(self.state, request)

    def clip(self, request: Request) -> Response:
        key = self.store.clip(request.path_params["token"], request.path_params["place"])
        return FileResponse(self.study.folder / CLIPS / f"{key}.wav", media_type="audio/wav")


def _numbers(store: Store, key: str) -> Callable[[Request], Response]:
    def numbers(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            return _problem(403, "the experimenter's key is needed")
        answers = [answer for answer in store.answers() if not answer.withdrawn]
        counted = [answer for answer in answers if answer.kind == "rating"]
        ratings = Counter(answer.clip for answer in counted)
        wanted = store.study.settings.raters_per_clip
        clips = [
            {"clip": clip.clip, "emotion": clip.emotion, "ratings": ratings[clip.key], "wanted": wanted}
            for clip in store.study.rated
        ]
        median = statistics.median(answer.seconds for answer in counted) if counted else None
        return JSONResponse({"raters": store.raters(), "pages": len(answers), "clips": clips, "median_seconds": median})

    return numbers


def _file(name: str) -> Callable[[Request], Response]:
    content = (files("vocalgen.rating") / "page" / name).read_bytes()

    def serve(request: Request) -> Response:
        return Response(content, media_type=FILES[name])

    return serve


def _problem(status: int, reason: object) -> JSONResponse:
    return JSONResponse({"error": str(reason)}, status)


class _Headers:
    """Adds `HEADERS` to every answer, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        await self.app(scope, receive, with_headers)


class _Limits:
    """Refuses what other sites' pages send, bodies that are too large, and too many requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.left: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        problem = self._problem(request)
        if problem is not None:
            await problem(scope, receive, send)
            return
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                await _problem(413, f"a request may have {LARGEST} bytes")(scope, receive, send)
                return

        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, again, send)

    def _problem(self, request: Request) -> Response | None:
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD"):
            if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
                return _problem(403, "this request comes from another site")
            if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return _problem(403, "this request comes from another site")
        if not self._allowed(request):
            return _problem(429, "too many requests; wait a moment")
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
