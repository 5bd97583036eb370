"""Files of the pages, which are the same for all, and sounds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FILES = {
    "rate.html": "text/html; charset=utf-8",
    **dict.fromkeys(
        ("rate.js", "answer.js", "dom.js", "memory.js", "slider.js", "sound.js", "experiment.js"),
        "text/javascript; charset=utf-8",
    ),
    "rate.css": "text/css; charset=utf-8",
    "rate.svg": "image/svg+xml",
    "experiment.html": "text/html; charset=utf-8",
}

FIXED = re.compile("/(static|r)/|/(experiment|join)/?$")
"""Paths of answers that are the same for all."""

RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


def is_fixed(path: str) -> bool:
    """Whether what is read at a path is a fixed file."""
    return FIXED.match(path) is not None


def sound_response(content: bytes, asked: str) -> Response:
    """Answer with a WAV file, or the range of its bytes that is asked for: some browsers play nothing that has none."""
    found, size = RANGE.fullmatch(asked), len(content)
    if found is None:
        return Response(content, media_type="audio/wav", headers={"Accept-Ranges": "bytes"})
    first, last = int(found[1]), min(int(found[2] or size), size - 1)
    if first > last:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{size}"}
    return Response(content[first : last + 1], 206, headers, "audio/wav")


def page_routes(path: str, name: str) -> list[Route]:
    """Routes of a fixed page; links that gained a slash at their end reach it too."""
    return [Route(written, file_endpoint(name)) for written in (path, f"{path}/")]


def file_endpoint(name: str) -> Callable[[Request], Response]:
    """Endpoint of a fixed file, which browsers keep and ask for again only if it has changed."""
    content = (files("vocalgen.rating") / "page" / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def serve(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=FILES[name], headers=headers)

    return serve  # type: ignore[return-value]
