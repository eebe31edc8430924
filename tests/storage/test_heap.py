"""A process of many threads has one heap, and gives back what nobody uses."""

import gc
import linecache
import os
import platform
import subprocess
import sys
import time
import weakref
from pathlib import Path
from unittest.mock import Mock

import pytest

from deploy import launcher
from storage import heap, watch, worker
from support.database import SECRET_KEY
from support.nginx import ROOT
from support.store import Store

_FREE = """
import ctypes
from storage import heap
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) // 256
many = [libc.malloc(10_000) for _ in range(5000)]
for one in many: ctypes.memset(ctypes.c_void_p(one), 1, 10_000)
above = libc.malloc(10_000)
for one in many: libc.free(one)
before = resident()
{step}
print(before - resident())
"""


def _given_back(step: str) -> int:
    """Return how many MiB a process has less, which freed 48 below something."""
    done = subprocess.run(
        [sys.executable, "-c", _FREE.format(step=step)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


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
glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="Another libc has others."
)


def _heaps(module: str, data: Path, **environment: str) -> int:
    """Return how many heaps a process has that loaded a module and had threads."""
    clean = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}
    settings = {"HOLDFAST_DATA_DIR": str(data), "HOLDFAST_SECRET_KEY": SECRET_KEY}
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


@glibc
def test_the_site_has_one_heap(tmp_path: Path) -> None:
    assert _heaps("wsgi", tmp_path) == 1 < _heaps("os", tmp_path)


@glibc
def test_the_operator_may_know_better(tmp_path: Path) -> None:
    assert _heaps("wsgi", tmp_path, MALLOC_ARENA_MAX="5") > 1


@glibc
def test_what_is_free_below_something_small_is_given_back() -> None:
    assert _given_back("heap.give_back()") > 40 > _given_back("")


_CACHED = """
import ctypes, threading
libc = ctypes.CDLL(None)
class Info(ctypes.Structure):
    _fields_ = [(str(n), ctypes.c_size_t) for n in range(10)]
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.mallopt(-8, 1)
everybody = threading.Barrier(13)
def work():
    everybody.wait()
    for size in range(16, 1024, 16):
        for one in [libc.malloc(size) for _ in range(7)]:
            libc.free(one)
    everybody.wait()
    everybody.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for one in threads: one.start()
everybody.wait()
before = libc.mallinfo2()
everybody.wait()
used = getattr(libc.mallinfo2(), "7") - getattr(before, "7")
everybody.wait()
print(used // 1024)
"""


def _cached(**environment: str) -> int:
    """Return how many KiB twelve threads keep of what they have freed."""
    clean = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", _CACHED],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


@glibc
def test_no_thread_keeps_what_it_has_freed() -> None:
    assert _cached() > 500 > _cached(**launcher.THRIFT)


@pytest.mark.parametrize("said", [None, "glibc.malloc.check=0"])
def test_the_launcher_says_so_to_the_worker(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the operator has said something else."""
    told: dict[str, str | None] = {}

    class Process:
        def __init__(self, command: list[str], *, env: dict[str, str], **_: object):
            told[command[-1]] = env.get("GLIBC_TUNABLES")

    monkeypatch.setattr(launcher.subprocess, "Popen", Process)
    monkeypatch.setattr(launcher.subprocess, "run", lambda *_, **__: Mock(returncode=0))
    monkeypatch.setattr(
        launcher.Launcher, "run", lambda self: [c.start() for c in self.children]
    )
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GLIBC_TUNABLES", said or "")
    if said is None:
        monkeypatch.delenv("GLIBC_TUNABLES")
    launcher.main()
    thrift = launcher.THRIFT["GLIBC_TUNABLES"]
    assert told == {"worker": said or thrift, launcher.SITE[-1]: said}


class _Round:
    """Something that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_nobody_can_reach_goes_however_old_it_is() -> None:
    old = _Round()
    gc.collect()
    gone = weakref.ref(old)
    del old
    gc.collect(1)
    assert gone() is not None
    heap.give_back()
    assert gone() is None


def test_lines_that_a_traceback_quoted_go() -> None:
    linecache.getline(__file__, 1)
    assert __file__ in linecache.cache
    heap.give_back()
    assert not linecache.cache


class _Libc:
    """One that counts how often it was asked to give back."""

    def __init__(self) -> None:
        self.trimmed = 0

    def malloc_trim(self, pad: int) -> int:
        assert pad == 0
        self.trimmed += 1
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> _Libc:
    made = _Libc()
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: made)
    return made


def test_who_serves_gives_back_once_a_minute(store: Store, libc: _Libc) -> None:
    keeper = watch.Keeper(store.runtime)
    keeper.step()
    assert libc.trimmed == 0
    keeper._gave_back_at -= heap.GIVE_BACK_SECONDS + 1
    keeper.step()
    keeper.step()
    assert libc.trimmed == 1


@pytest.mark.usefixtures("store")
def test_a_worker_gives_back_once_a_minute(
    libc: _Libc, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, now = worker.Worker(), time.monotonic()
    for seconds, times in ((0, 1), (30, 1), (61, 2)):
        monkeypatch.setattr(worker.time, "monotonic", lambda s=seconds: now + s)
        one._do_chores()
        assert libc.trimmed == times
