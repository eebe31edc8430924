"""Memory stays bounded: files of any size (U11 and I-10, a slice), and logins (A12)."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator

from support.client import PASSWORD, Client
from support.site import Site, resident

MIB = 1024 * 1024
SIZE = 128 * MIB


class Watch:
    """Samples the resident memory of the web processes while something runs."""

    def __init__(self, site: Site) -> None:
        self.processes = site.server.web_pids()
        assert self.processes, "no web process was found"
        self.idle = self._now()
        self.peak = self.idle
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """How many bytes more than idle."""
        return self.peak - self.idle

    def _now(self) -> int:
        return max(resident(pid) for pid in self.processes)

    def _sample(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now())


def _body(block: bytes) -> Iterator[bytes]:
    for number in range(SIZE // len(block)):
        yield number.to_bytes(8, "big") + block[8:]


def _digest(block: bytes) -> str:
    seen = hashlib.sha256()
    for part in _body(block):
        seen.update(part)
    return seen.hexdigest()


def _warm(person: Client) -> None:
    for size in (10, 300_000, 3 * MIB):
        body = os.urandom(size)
        entry = person.put(person.root(), f"warm-{size}", body).expect(201).json["id"]
        person.digest(entry)
    person.rows()
    time.sleep(0.5)


def test_a_large_file_goes_up_and_down_in_little_memory(site: Site) -> None:
    """U11: far less than the file, both ways, and the bytes are equal."""
    person, block = site.person("alice"), os.urandom(MIB)
    _warm(person)
    with Watch(site) as watch:
        answer = person.put(
            person.root(), "large", _body(block), Content_Length=str(SIZE)
        ).expect(201)
        up = watch.growth
        digest, length = person.digest(answer.json["id"])
    assert (digest, length) == (_digest(block), SIZE)
    assert up < 72 * MIB, f"{up / MIB:.0f} MiB more during the upload"
    assert watch.growth < 100 * MIB, f"{watch.growth / MIB:.0f} MiB more"


def test_fifty_logins_at_once_are_all_served(site: Site) -> None:
    """A12: two are hashed at a time, the others wait, and memory stays bounded."""
    # Several accounts: a login that is not decided yet counts against its own.
    names = [f"popular-{number}" for number in range(10)]
    for name in names:
        site.client().register(name)
    before = max(resident(pid) for pid in site.server.web_pids())
    answers: list[int] = []

    def sign_in(name: str) -> None:
        try:
            answers.append(site.client().try_login(name, PASSWORD).status)
        except OSError as error:
            answers.append(-error.errno if error.errno else -1)

    threads = [threading.Thread(target=sign_in, args=(name,)) for name in names * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [303] * 50
    grown = max(resident(pid) for pid in site.server.web_pids()) - before
    assert grown < 150 << 20
