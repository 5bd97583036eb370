"""Processes that work for another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vocalgen import audio
from vocalgen.corpora.folder import scan

SCRIPT = """
import os, time
from vocalgen.corpora.parallel import workers

if __name__ == "__main__":
    pool = workers(1)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""

UNGUARDED = """
import multiprocessing, operator, sys

print("script runs", flush=True)
if sys.argv[1] != "default":
    multiprocessing.set_start_method(sys.argv[1])
from vocalgen.corpora.parallel import parallel_map

print(sum(parallel_map(operator.neg, list(range(100)), 2, 10)))
"""

UNGUARDED_CACHE = """
import sys
from vocalgen.data import CacheConfig, WaveCache

print(len(WaveCache.of(sys.argv[1], sys.argv[2], CacheConfig(sample_rate=8000))))
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_a_parent_that_is_killed(tmp_path: object) -> None:
    script = f"{tmp_path}/main.py"
    with open(script, "w") as file:
        file.write(SCRIPT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    limit = time.monotonic() + 30
    while alive(worker) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not alive(worker)


@pytest.mark.parametrize("method", ["default", "spawn", "forkserver"])
def test_parallel_map_works_in_a_script_without_a_main_guard(tmp_path: Path, method: str) -> None:
    """The script runs once: no process starts it again."""
    script = tmp_path / "plain.py"
    script.write_text(UNGUARDED)
    ended = subprocess.run([sys.executable, script, method], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("script runs\n-4950\n", "")


def test_wave_cache_is_built_by_a_script_without_a_main_guard(tmp_path: Path) -> None:
    """Its processes neither wait for the lock of their parent nor die."""
    for index in range(130):
        wave = 0.1 + 0.1 * np.sin(np.arange(800) * (index + 9) / 99)
        audio.write(tmp_path / "clips" / "awe" / f"{index}.wav", wave, 8000)
    scan(tmp_path / "clips", split="train").save(tmp_path / "m.csv")
    script = tmp_path / "plain.py"
    script.write_text(UNGUARDED_CACHE)
    command = [sys.executable, script, tmp_path / "m.csv", tmp_path / "cache"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.stdout, ended.returncode) == ("130\n", 0), ended.stderr
