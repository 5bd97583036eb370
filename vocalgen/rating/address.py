"""Addresses by which a study is reached: hosts, origins and links are all taken from them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from vocalgen.errors import VocalgenError

PORTS = {"http": 80, "https": 443}
"""That browsers leave out."""

HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]+")
"""A name in ASCII, or an IP address; IPv6 without its brackets."""


def origin(address: str) -> str:
    """An address as browsers write the origin of its pages: `scheme://host[:port]` in lower case.

    Raises:
        VocalgenError: it has another form, or a path: the page lies at the root of its host.

    Examples:
        >>> origin("HTTPS://Lab.Example:443/")
        'https://lab.example'
    """
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError as error:
        raise VocalgenError(f"{address!r} is no address ({error}); give one such as https://lab.example") from error
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    if scheme not in PORTS or extra or not HOST.fullmatch(host) or port == 0:
        raise VocalgenError(f"{address!r} is no address of a study; give one such as https://lab.example, without path")
    return _joined(scheme, host, port)


def host_of(address: str) -> str:
    """The name or IP address in an origin, as the header Host has it but for the port."""
    host = urlsplit(address).hostname or ""
    return f"[{host}]" if ":" in host else host


def loopback(host: str, port: int) -> list[str]:
    """Origins of a server that listens on `host` for browsers on the same machine."""
    names = [host] if is_loopback(host) else []
    return [_joined("http", name, port) for name in dict.fromkeys([*names, "127.0.0.1", "localhost", "::1"])]


def is_loopback(host: str) -> bool:
    """Whether no other machine can reach what listens on `host`."""
    return host.lower() == "localhost" or host == "::1" or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def _joined(scheme: str, host: str, port: int | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port in (None, PORTS[scheme]) else f":{port}")
