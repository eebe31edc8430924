"""Clients that upload and download until they are told to stop, and count."""

import hashlib
import http.client
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.acceptance import Acceptance
from benchmarks.common import KIB, MIB
from support.client import Client
from support.site import until

SIZES = (1 * KIB, 40 * KIB, 300 * KIB, 2 * MIB, 30 * MIB)
"""Two inside their manifests, of one segment, and of several."""
_WEIGHTS = (4, 4, 4, 2, 1)
_FAILURES = (AssertionError, OSError, http.client.HTTPException)


@dataclass
class Count:
    """What became of uploads, or of downloads; seconds of each that ended well."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    under_way: int = 0

    @property
    def words(self) -> str:
        """Say it in a line."""
        slowest = max(self.seconds, default=0.0)
        usual = sorted(self.seconds)[len(self.seconds) // 2] if self.seconds else 0.0
        return (
            f"{len(self.seconds)}, {len(self.failed)} failed, "
            f"median {usual:.2f} s, slowest {slowest:.2f} s"
        )


class Load:
    """Several clients of one site; half of them upload and half download."""

    def __init__(self, run: Acceptance, clients: int, label: str) -> None:
        self.uploads, self.downloads = Count(), Count()
        self._run = run
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._folder = run.person.folder(run.root, label)
        jobs = (self._upload, self._download)
        self._threads = [
            threading.Thread(target=self._loop, args=(jobs[n % 2], n))
            for n in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float) -> None:
        """Wait until so many more uploads and downloads have ended."""
        goals = [(one, len(one.seconds) + more) for one in self._both()]
        until(
            lambda: all(
                len(one.seconds) >= goal or len(one.failed) > more
                for one, goal in goals
            ),
            seconds,
            what=f"{more} more uploads and downloads",
        )

    def in_the_middle(self, seconds: float = 60) -> tuple[int, int]:
        """Wait until both are under way, and say how many of each."""
        until(lambda: all(one.under_way for one in self._both()), seconds, 0.001)
        return self.uploads.under_way, self.downloads.under_way

    def _both(self) -> tuple[Count, Count]:
        return self.uploads, self.downloads

    @property
    def failed(self) -> list[str]:
        """What failed, in words."""
        return self.uploads.failed + self.downloads.failed

    def _loop(
        self, job: Callable[[Client, random.Random, str], None], number: int
    ) -> None:
        person, rng, turn = self._run.person.twin(), random.Random(number), 0
        count = self.uploads if job == self._upload else self.downloads
        while not self._over.is_set():
            turn += 1
            begun = time.monotonic()
            with self._lock:
                count.under_way += 1
            try:
                job(person, rng, f"{number}-{turn}")
            except _FAILURES as error:
                person.close()
                count.failed.append(f"after {time.monotonic() - begun:.1f} s: {error}")
                time.sleep(0.2)  # a site in trouble is not asked in a circle
            else:
                count.seconds.append(time.monotonic() - begun)
            finally:
                with self._lock:
                    count.under_way -= 1
        with suppress(OSError):
            person.close()

    def _upload(self, person: Client, rng: random.Random, name: str) -> None:
        (size,) = rng.choices(SIZES, _WEIGHTS)
        body = os.urandom(size)
        answer = person.put(self._folder, name, body).expect(201)
        row = (hashlib.sha256(body).hexdigest(), size)
        with self._lock:
            self._run.files[answer.json["id"]] = row

    def _download(self, person: Client, rng: random.Random, _: str) -> None:
        with self._lock:
            entry, expected = rng.choice(list(self._run.files.items()))
        found = person.digest(entry)
        if found != expected:
            raise AssertionError(f"wrong bytes: {entry} has {found}, not {expected}")
