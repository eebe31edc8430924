"""An instance that is taken out of use: nobody who uses it may notice."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.client import Client
from support.instance import Instance
from support.site import until
from support.soak import FACTOR

pytestmark = pytest.mark.usefixtures("_nginx")
COUNT = 20
PIECES = 10
PIECE = 200_000
SECONDS = 20.0


def slowly(data: bytes) -> Iterator[bytes]:
    """Send a body in so many seconds."""
    for start in range(0, len(data), PIECE):
        time.sleep(SECONDS / PIECES)
        yield data[start : start + PIECE]


class Transfers:
    """Uploads and downloads that take a while, each in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.person = Client(url).register("alice")
        self.folder = self.person.root()
        self.data = os.urandom(PIECE * PIECES)
        # More than all the buffers on the way, so that an early end would show.
        self.large = os.urandom(24 << 20)
        answer = self.person.put(self.folder, "large", self.large)
        self.entry = answer.expect(201).json["id"]
        self.done: list[str] = []
        self.failed: list[str] = []
        work = [self.upload] * COUNT + [self.download] * COUNT
        self.threads = [
            threading.Thread(target=self._run, args=(do, number))
            for number, do in enumerate(work)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()
        time.sleep(1)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(90)

    def _run(self, do, number: int) -> None:  # type: ignore[no-untyped-def]
        try:
            do(self.person.twin(), number)
            self.done.append(do.__name__)
        except Exception as error:
            self.failed.append(f"{do.__name__} {number}: {error!r}")

    def upload(self, person: Client, number: int) -> None:
        headers = {"Content_Length": str(len(self.data))}
        answer = person.put(
            self.folder, f"up-{number}", slowly(self.data), **headers
        ).expect(201)
        assert answer.json["size"] == len(self.data)

    def download(self, person: Client, _: int) -> None:
        response = person.open("GET", f"/files/file/{self.entry}/download")
        assert response.status == 200
        seen = hashlib.sha256()
        while piece := response.read(len(self.large) // PIECES):
            seen.update(piece)
            time.sleep(SECONDS / PIECES)
        assert seen.digest() == hashlib.sha256(self.large).digest()


@pytest.mark.parametrize("nginx_first", [False, True][: 2 if FACTOR > 1 else 1])
def test_forty_transfers_end_well_and_readiness_goes_first(
    short_path: Path, nginx_first: bool
) -> None:
    """R12: told to drain, then to stop, with twenty of each in flight."""
    instance = Instance(short_path / "i", {"GRACE_SECONDS": "60"})
    with instance:
        transfers = Transfers(instance.url)
        transfers.start()
        waiting = threading.Thread(target=instance.flask, args=("drain", "--wait", "1"))
        waiting.start()
        until(lambda: (instance.folder / "data" / "draining").exists(), what="a drain")
        begun = time.monotonic()
        until(lambda: instance.ready() == 503, 10, 0.05, "not ready any more")
        assert time.monotonic() - begun < (1 if FACTOR > 1 else 5)
        # Whoever comes all the same is served.
        assert transfers.person.get("/files/").status == 200
        waiting.join(60)
        running = sum(thread.is_alive() for thread in transfers.threads)
        codes = instance.stop(nginx_first=nginx_first)
        transfers.join()
    assert running > COUNT, "the stop came too late to prove anything"
    assert transfers.failed == []
    assert sorted(transfers.done) == ["download"] * COUNT + ["upload"] * COUNT
    assert codes == [0, 0, 0]
    with instance:  # a start ends the draining
        assert instance.ready() == 200
