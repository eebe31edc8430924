"""A server process keeps few heaps, however many threads it has."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import arenas
from support.database import SECRET_KEY
from support.nginx import ROOT

THREADS = 12
_COUNT = """
import ctypes, threading
import {module}
libc = ctypes.CDLL(None)
everybody = threading.Barrier({threads})
def work():
    everybody.wait()
    libc.malloc(1000)
    everybody.wait()
threads = [threading.Thread(target=work) for _ in range({threads})]
for one in threads: one.start()
for one in threads: one.join()
libc.malloc_stats()
"""
pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="Only glibc has arenas."
)


def _heaps(module: str, tmp_path: Path, **environment: str) -> int:
    """Return how many heaps a process has that loaded a module and had threads."""
    clean = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}
    settings = {
        "HOLDFAST_DATA_DIR": str(tmp_path),
        "HOLDFAST_SECRET_KEY": SECRET_KEY,
    }
    done = subprocess.run(
        [sys.executable, "-c", _COUNT.format(module=module, threads=THREADS)],
        env=clean | settings | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr.count("Arena ")


def test_what_serves_keeps_few_heaps(tmp_path: Path) -> None:
    assert _heaps("wsgi", tmp_path) <= arenas.MOST < _heaps("os", tmp_path)


def test_the_operator_may_know_better(tmp_path: Path) -> None:
    assert _heaps("wsgi", tmp_path, MALLOC_ARENA_MAX="5") > arenas.MOST
