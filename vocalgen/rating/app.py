"""The study as a web application: one page, a small JSON interface, and what keeps strangers out.

    GET  /r/TOKEN                     the page of a rater
    GET  /join?PROLIFIC_PID=ID        the page for participants of a crowd platform, if the study has an entrance
    POST /join?PROLIFIC_PID=ID        the token of the rater with that id, who is made when the id comes first
    GET  /api/TOKEN                   where the rater stands and what comes next
    GET  /api/TOKEN/texts/LANGUAGE    the words of the page
    POST /api/TOKEN/consent           {"language": code}
    POST /api/TOKEN/pages/PLACE       {"values": {emotion: number}, "plays": n, "seconds": x}
    POST /api/TOKEN/withdraw
    GET  /api/TOKEN/volume            the sound by which the volume is set
    GET  /api/TOKEN/clips/PLACE       the sound of a page
    GET  /experiment                  the experimenter's page
    GET  /experiment/numbers          how the study goes; this and the next two with the key as bearer token
    POST /experiment/flag, /lift      {"rater": number, "reason": text}

Nothing of a request becomes a path, HTML or SQL: pages are fixed files, values travel as JSON and are shown as text.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vocalgen.errors import VocalgenError
from vocalgen.rating.admission import StudyFull
from vocalgen.rating.entrance import completion_link, parameter_of, participant_of
from vocalgen.rating.guard import HEADERS, Headers, Limits, problem
from vocalgen.rating.numbers import progress
from vocalgen.rating.reading import Unavailable
from vocalgen.rating.served import FILES, file_endpoint, is_fixed, page_routes, sound_response
from vocalgen.rating.standing import Standing, UnknownRater
from vocalgen.rating.store import Store
from vocalgen.rating.study import CLIPS, Study
from vocalgen.rating.volume import volume_sound

logger = logging.getLogger(__name__)

PLACE = re.compile(r"[0-9]{1,9}")
SHARE = 0.1
"""Most of the time that may go into the experimenter's numbers; they are as old as that needs."""


def make_app(study: Study, key: str, origins: Sequence[str]) -> Starlette:
    """The application.

    Args:
        key: of the experimenter.
        origins: under which the server is reached, see `address.origin`; requests for other hosts are refused (DNS
            rebinding), and changes that pages from elsewhere ask for (CSRF).
    """
    store = Store(study)
    rater, experimenter = _Rater(store), _Experimenter(store, key)
    routes = [
        *page_routes("/r/{token}", "rate.html"),
        *(Route(f"/static/{name}", file_endpoint(name)) for name in FILES if not name.endswith(".html")),
        Route("/api/{token}", rater.state),
        Route("/api/{token}/texts/{language}", rater.texts),
        Route("/api/{token}/consent", rater.consent, methods=["POST"]),
        Route("/api/{token}/withdraw", rater.withdraw, methods=["POST"]),
        Route("/api/{token}/pages/{place}", rater.save, methods=["POST"]),
        Route("/api/{token}/volume", rater.volume),
        Route("/api/{token}/clips/{place}", rater.clip),
        *page_routes("/experiment", "experiment.html"),
        Route("/experiment/numbers", experimenter.numbers),
        Route("/experiment/flag", experimenter.flag, methods=["POST"]),
        Route("/experiment/lift", experimenter.lift, methods=["POST"]),
    ]

    if study.settings.entrance is not None:
        routes += [*page_routes("/join", "rate.html"), Route("/join", rater.join, methods=["POST"])]

    def caller(request: Request) -> str | None:
        return rater.caller(request) or experimenter.caller(request)

    middleware = [
        Middleware(Headers),
        Middleware(Limits, origins=frozenset(origins), caller=caller, fixed=is_fixed),
    ]
    handlers: dict[Any, Callable[[Request, Any], Response]] = {
        404: lambda request, error: problem(
            404, "There is nothing here; raters need the whole link that they were sent."
        ),
        UnknownRater: lambda request, error: problem(404, error),
        StudyFull: lambda request, error: problem(403, error),
        VocalgenError: lambda request, error: problem(400, error),
        Unavailable: _not_stored,
        OSError: _not_read,
        Exception: _failed,
    }

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        yield
        store.close()

    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=closing)
    # The server sees plain http behind a proxy: its own redirects would send a rater's token over http.
    app.router.redirect_slashes = False
    app.state.store = store
    return app


class _Rater:
    """What a rater's page asks for."""

    def __init__(self, store: Store) -> None:
        self.store, self.study, self.sound = store, store.study, volume_sound()
        self.known: set[str] = set()
        self.full = False  # whether somebody could not join
        settings = self.study.settings
        self.always = {
            "languages": {code: texts.language for code, texts in self.study.texts.items()},
            "low": settings.low,
            "high": settings.high,
            "practice": len(self.study.practice),
            "block": settings.block,
            "withdrawal": settings.withdrawal,
        }
        self.words = {
            code: {**asdict(texts), "emotions": texts.named(settings.emotions)}
            for code, texts in self.study.texts.items()
        }

    def caller(self, request: Request) -> str | None:
        """The token of a request, if it was given out."""
        _, part, token, *_ = [*request.url.path.split("/"), "", ""]
        if part == "api" and token not in self.known and self.store.knows(token):
            self.known.add(token)
        return token if part == "api" and token in self.known else None

    async def join(self, request: Request) -> Response:
        entrance = self.study.settings.entrance or ""
        given = request.query_params.getlist(parameter_of(entrance))
        participant = participant_of(entrance, given)
        return JSONResponse({"token": await run_in_threadpool(self._join, participant)})

    def _join(self, participant: str) -> str:
        try:
            return self.store.join(participant)
        except StudyFull:
            if not self.full:
                logger.warning("the entrance is full; --entrance-raters admits more than %d", self.study.entrance_limit)
            self.full = True
            raise

    async def state(self, request: Request) -> Response:
        return self._answer(self.store.standing(request.path_params["token"]))

    async def texts(self, request: Request) -> Response:
        self.store.standing(request.path_params["token"])  # for raters only
        language = request.path_params["language"]
        if language not in self.words:
            return problem(404, f"there are no texts in {language!r}")
        return JSONResponse(self.words[language])

    async def consent(self, request: Request) -> Response:
        body = await _body(request)
        language = body.get("language")
        if language is not None and not isinstance(language, str):
            raise VocalgenError("language must be a code, such as en")
        return self._answer(await run_in_threadpool(self.store.consent, request.path_params["token"], language))

    async def withdraw(self, request: Request) -> Response:
        return self._answer(await run_in_threadpool(self.store.withdraw, request.path_params["token"]))

    async def save(self, request: Request) -> Response:
        body, path = await _body(request), request.path_params
        try:
            given, plays, seconds = dict(body["values"].items()), body["plays"], body["seconds"]
        except (KeyError, AttributeError) as error:
            raise VocalgenError("values, plays and seconds are needed, as JSON") from error
        saving = self.store.saving(path["token"], _place(request), given, plays, seconds)
        return self._answer(await asyncio.wrap_future(saving))

    async def volume(self, request: Request) -> Response:
        self.store.standing(request.path_params["token"])  # for raters only
        return sound_response(self.sound, request.headers.get("range", ""))

    async def clip(self, request: Request) -> Response:
        key = self.store.clip(request.path_params["token"], _place(request))
        content = (self.study.folder / CLIPS / f"{key}.wav").read_bytes()  # no thread: handing over takes longer
        return sound_response(content, request.headers.get("range", ""))

    def _answer(self, standing: Standing) -> Response:
        values = {**self.always, "stage": standing.stage, "language": standing.language}
        page = standing.page
        if page is not None:
            kind = "practice" if page.kind == "practice" else "rating"  # a repeat is not to be told from the first time
            values["page"] = {"place": page.place, "pages": page.pages, "kind": kind, "asked": page.asked,
                              "emotions": page.emotions}  # fmt: skip
        if standing.code is not None:
            values["code"] = standing.code
            link = self.study.settings.completion_link
            if link is not None and standing.participant is not None:
                values["completion"] = completion_link(link, standing.participant, standing.code)
        return JSONResponse(values)


class _Experimenter:
    """What the experimenter's page asks for."""

    def __init__(self, store: Store, key: str) -> None:
        self.store, self.key = store, f"Bearer {key}".encode()
        self.found: dict[str, Any] = {}
        self.until = 0.0
        self.changes = self.counted = 0  # of flags, in all and when the numbers were counted
        self.counting = threading.Lock()

    def caller(self, request: Request) -> str | None:
        """ "experimenter", for requests with the key."""
        given = request.headers.get("authorization", "").encode()
        return "experimenter" if hmac.compare_digest(given, self.key) else None

    def numbers(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(self._numbers())

    async def flag(self, request: Request) -> Response:
        return self._refusal(request) or await self._change(request, self.store.flag)

    async def lift(self, request: Request) -> Response:
        return self._refusal(request) or await self._change(request, self.store.lift)

    async def _change(self, request: Request, change: Callable[[int, str], None]) -> Response:
        body = await _body(request)
        rater, reason = body.get("rater"), body.get("reason")
        if type(rater) is not int or not isinstance(reason, str):
            raise VocalgenError("rater and reason are needed, a number and a text")
        await run_in_threadpool(change, rater, reason)
        self.changes += 1
        return JSONResponse(await run_in_threadpool(self._numbers))

    def _numbers(self) -> dict[str, Any]:
        with self.counting:  # several windows do not count at once
            began, changes = time.monotonic(), self.changes
            if began >= self.until or changes != self.counted:
                self.found = progress(self.store.study, self.store.raters(), self.store.answers())
                now = time.monotonic()
                self.until, self.counted = now + (now - began) / SHARE, changes
            return self.found

    def _refusal(self, request: Request) -> Response | None:
        return None if self.caller(request) else problem(403, "the experimenter's key is needed")


def _failed(request: Request, error: Exception) -> Response:
    return problem(500, "the server has failed; its terminal says how", HEADERS)  # sent from outside `Headers`


def _not_stored(request: Request, error: Unavailable) -> Response:
    logger.error("answers cannot be stored: %s; raters' pages try again until they are", error)
    return problem(503, "this could not be stored; try again")


def _not_read(request: Request, error: OSError) -> Response:
    logger.error("%s cannot be read (%s); restore it, raters' pages try again", error.filename, error.strerror)
    return problem(503, "this could not be read; try again")


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise VocalgenError("the request must be JSON") from error
    if not isinstance(body, dict):
        raise VocalgenError("the request must be a JSON object")
    return body


def _place(request: Request) -> int:
    place = request.path_params["place"]
    if not PLACE.fullmatch(place):
        raise VocalgenError(f"{place[:20]!r} is no page")
    return int(place)
