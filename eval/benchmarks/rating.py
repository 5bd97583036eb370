"""How long raters wait for the server of a listening study, many of them at once.

python eval/benchmarks/rating.py [--raters 200] [--pages 10] [--think 5 0] [--limit 300]

`vocalgen rate serve` runs as a process of its own, with a study of ten emotions and fifty clips of two seconds, thirty
of them for every rater. Each rater, on a connection that stays open, consents and answers page after page: fetches
where they stand and the clip, thinks, and saves. Thinking takes from half to one and a half times what is given, and
the first consents are spread over that time; 0 is what the server can do at most, all raters coming at once. Prints
pages a second, the wait from a request to the last byte of its answer, and how long the server's process computed. Both
run on the same cores, loopback only. Fails if anything is refused, or not in the database afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from socket import socket
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from vocalgen import audio
from vocalgen.emotions import HUME10, slug
from vocalgen.rating.freeze import create_study
from vocalgen.rating.store import Store
from vocalgen.rating.study import Settings, open_study

RATE, SECONDS, PER_EMOTION, HEARD = 24_000, 2.0, 5, 30
HOST = "127.0.0.1"


def main() -> None:
    """Make a study for each time of thinking, serve, answer and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--pages", type=int, default=10, help="that each rater answers, of 35")
    parser.add_argument("--think", type=float, nargs="+", default=[5.0, 0.0], metavar="S", help="seconds on a page")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that the answers may take")
    options = parser.parse_args()
    print(f"{options.raters} raters, {options.pages} pages each, {len(os.sched_getaffinity(0))} cores")
    for think in options.think:
        with tempfile.TemporaryDirectory() as place:
            measure(make(Path(place)), options.raters, options.pages, think, options.limit)


def make(folder: Path) -> Path:
    """A study of clips of noise."""
    rng = np.random.default_rng(0)
    for name in HUME10.emotions:
        for number in range(PER_EMOTION):
            wave = 0.1 * rng.standard_normal(int(SECONDS * RATE)).astype(np.float32)
            audio.write(folder / "clips" / slug(name) / f"{number}.wav", wave, RATE)
    settings = Settings(emotions=HUME10.emotions, practice=0, clips_per_rater=HEARD)
    return create_study(folder / "study", folder / "clips", settings, PER_EMOTION, HUME10).folder


def measure(study: Path, raters: int, pages: int, think: float, limit: float) -> None:
    """Serve the study, let the raters answer, print."""
    with socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vocalgen", "rate", "serve", study, "--port", port, "--invite", raters]
    server = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        tokens = [server.stdout.readline().strip().rpartition("/")[2] for _ in range(raters)]
        await_start(port)
        waits: dict[str, list[float]] = {"consent": [], "state": [], "clip": [], "save": []}
        start, before = time.perf_counter(), processor_time(server.pid)
        asyncio.run(answer_all(port, tokens, pages, think, limit, waits))
        spent, computed = time.perf_counter() - start, processor_time(server.pid) - before
    finally:
        server.terminate()
        server.wait()
    stored = len(Store(open_study(study)).answers())
    if stored != raters * pages:
        raise SystemExit(f"{raters * pages} pages were acknowledged, {stored} are stored")
    every = [wait for group in waits.values() for wait in group]
    print(f"\nthinking {think:g} s: {len(every)} requests in {spent:.1f} s, {len(every) / spent:.0f} a second")
    print(f"{stored / spent:.1f} pages a second; the server computed for {computed:.1f} s")
    print(f"{'ms':10}{'median':>8}{'p95':>8}{'p99':>8}{'longest':>8}")
    for name, group in {**waits, "all": every}.items():
        shown = "".join(f"{1000 * value:8.1f}" for value in np.percentile(group, [50, 95, 99, 100]))
        print(f"{name:10}{shown}")


def await_start(port: int) -> None:
    """Wait until the server answers."""
    for _ in range(300):
        try:
            urlopen(f"http://{HOST}:{port}/experiment", timeout=30).close()
            return
        except URLError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def processor_time(process: int) -> float:
    """Seconds that a process has computed, all its threads together."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def answer_all(
    port: int, tokens: list[str], pages: int, think: float, limit: float, waits: dict[str, list[float]]
) -> None:
    """All raters at once; `waits` gets seconds by kind of request."""
    rng = np.random.default_rng(0)
    work = [rate(port, token, pages, think, np.random.default_rng(rng.integers(2**32)), waits) for token in tokens]
    await asyncio.wait_for(asyncio.gather(*work), limit)


async def rate(
    port: int, token: str, pages: int, think: float, rng: np.random.Generator, waits: dict[str, list[float]]
) -> None:
    """One rater."""
    await asyncio.sleep(rng.uniform(0, think))
    reader, writer = await asyncio.open_connection(HOST, port)

    async def ask(kind: str, path: str, body: Any = None) -> bytes:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{'GET' if body is None else 'POST'} /api/{token}{path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        start = time.perf_counter()
        writer.write(head.encode() + content)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        found = await reader.readexactly(length)
        waits[kind].append(time.perf_counter() - start)
        if status.split()[1] != "200":
            raise SystemExit(f"{kind}: {status} {found[:200]!r}")
        return found

    await ask("consent", "/consent", {})
    for place in range(pages):
        page = json.loads(await ask("state", ""))["page"]
        assert page["place"] == place
        await ask("clip", f"/clips/{place}")
        await asyncio.sleep(think * rng.uniform(0.5, 1.5))
        values = {name: int(rng.integers(1, 101)) for name in page["emotions"]}
        await ask("save", f"/pages/{place}", {"values": values, "plays": 1, "seconds": think})
    writer.close()


if __name__ == "__main__":
    main()
