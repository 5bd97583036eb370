"""The server of a study: one process, one port."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vocalgen.errors import VocalgenError

THOUGHTFUL = 75
"""Seconds for which a rater's connection is kept open without a request."""

ASKING = 20
"""Seconds within which the head of a request has to come; who asks for nothing takes the place of somebody else."""

CONNECTIONS = 4000
"""Most connections at once; who comes then is told to try again."""

FILES_BESIDE = 100
"""Open files that are not connections."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens: from now on connections wait until `serve` answers them, and answers are sent at once.

    Raises:
        VocalgenError: the port is in use, or the host is none of this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit that
        return listening
    except OSError as error:
        reason = error.strerror or error
        raise VocalgenError(
            f"cannot listen on {host}, port {port} ({reason}); choose another --port or --host"
        ) from error


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer until the process is told to end."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=THOUGHTFUL,
        limit_concurrency=_connections(),
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


class Protocol(H11Protocol):
    """HTTP; a connection is closed if the head of a request is not there `ASKING` seconds after it could begin."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch()

    def _watch(self) -> None:
        waits = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if waits and self._deadline is None:
            self._deadline = self.loop.call_later(ASKING, self.transport.close)
        elif not waits and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _connections() -> int:
    """As many as the system lets this process have, up to `CONNECTIONS`."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are no files
        return CONNECTIONS
    most = CONNECTIONS + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return CONNECTIONS
    soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, soft - FILES_BESIDE)
