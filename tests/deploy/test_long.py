"""R15: an hour of mixed work with a fault every twenty seconds, and what it uses.

No instance is killed here, so that what a process keeps for ever would show. People
keep a hundred files each and remove the older ones for good: nothing else grows. They
rest between two requests, so that two cores are busy and not overrun: what is more than
a machine can do would queue up, and say nothing about what it keeps.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from support.client import Client
from support.site import until
from support.soak import FACTOR
from support.stack import Stack
from support.traffic import Traffic
from support.usage import Usage, growth, kept, peak, restarts, second_half

LONG = FACTOR > 1
SECONDS = float(os.environ.get("LONG_SECONDS", "3600" if LONG else "30"))
EVERY = 20.0 if LONG else 3.0
SETTINGS = {"PURGE_GRACE_SECONDS": "30"}
pytestmark = pytest.mark.timeout(SECONDS * 2 + 900)
MOST_GROWTH = 2.0
"""Percent of resident memory an hour, once warm, of a kind of process."""
MOST_OF_ONE = 5.0
"""The same of one instance, where a moment of much work may leave a step."""
SPILL = 2
"""Descriptors or threads that come and go with the request of a moment, a process."""


class Troublemaker:
    """One fault after the other; the counter says which of them fired."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.fired = stack, Counter[str]()
        self.dice = random.Random(3)
        self.person = Client(stack.url).register(f"breaks-{os.urandom(3).hex()}")
        self.faults: list[Callable[[], None]] = [
            self.cut_connections,
            self.lose_a_server,
            self.break_off_an_upload,
            self.break_off_a_download,
            self.damage_an_object,
        ]
        body = os.urandom(3_000_000)
        answer = self.person.put(self.person.root(), "large", body).expect(201)
        self.entry = answer.json["id"]

    def cut_connections(self) -> None:
        assert self.stack.postgres.cut() > 0
        self.fired["connections cut"] += 1

    def lose_a_server(self) -> None:
        self.stack.rclone.kill()
        time.sleep(EVERY / 4)
        self.stack.bring_back_rclone()
        self.fired["server lost"] += 1

    def break_off_an_upload(self) -> None:
        def body() -> object:
            yield os.urandom(400_000)
            raise ConnectionResetError

        try:
            headers = {"Content_Length": "9000000"}
            self.person.put(self.person.root(), "never", body(), **headers)
        except ConnectionResetError:
            self.person.close()
            self.fired["upload broken off"] += 1

    def break_off_a_download(self) -> None:
        answer = self.person.open("GET", f"/files/file/{self.entry}/download")
        assert answer.status == 200 and answer.read(1000)
        self.person.close()
        self.fired["download broken off"] += 1

    def damage_an_object(self) -> None:
        shards = [
            path
            for path in self.stack.disk.rglob("*")
            if path.is_file() and path.stat().st_size > 4096 and "/o/" in str(path)
        ]
        path: Path = self.dice.choice(shards)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.fired["object damaged"] += 1

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY):
            fault = self.faults[sum(self.fired.values()) % len(self.faults)]
            try:
                fault()
            except OSError as error:  # e.g. purged in the moment it was to be damaged
                print(f"{fault.__name__} met {error!r}")
                self.fired["met another"] += 1


def _p99(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)]


def test_an_hour_of_work_and_faults_leaves_nothing_behind(stack: Stack) -> None:
    traffic = Traffic(stack.url, 8, tries=60, pause=0.8 if LONG else 0.1, most=100)
    trouble, stop = Troublemaker(stack), threading.Event()
    making = threading.Thread(target=trouble.run, args=(stop,), daemon=True)
    begun = time.monotonic()
    with Usage(stack.instances).watched() as usage, traffic.running():
        making.start()
        time.sleep(SECONDS)
        stop.set()
        making.join(60)
    print(f"{SECONDS:.0f} s, {dict(trouble.fired)}: {traffic}")
    print("\n".join(usage.told()))
    took = [pair for one in traffic.people for pair in one.took]
    sixth = SECONDS / 6
    first = [seconds for at, seconds in took if at - begun < sixth]
    last = [seconds for at, seconds in took if at - begun > SECONDS - sixth]
    print(f"p99 of the first sixth {_p99(first):.2f} s, of the last {_p99(last):.2f} s")

    assert traffic.wrong == [] and traffic.failed == []
    assert set(trouble.fired) >= {
        *("connections cut", "server lost", "upload broken off"),
        *("download broken off", "object damaged"),
    }
    assert traffic.check() > 4
    _nothing_left(stack)
    for part, samples in usage.seen.items():
        assert restarts(samples) == [], part
        warm = second_half(samples)
        spill = SPILL * len(warm[0].processes)
        if LONG:
            assert growth(samples) < MOST_OF_ONE, part
            assert kept(samples) <= spill, part
            assert peak(samples) <= 1.0, part
            before = samples[len(samples) // 4 : len(samples) // 2]
            assert max(s.threads for s in warm) <= (
                max(s.threads for s in before) + spill
            )
    if LONG:
        for kind, samples in usage.together().items():
            assert growth(samples) < MOST_GROWTH, kind
        assert _p99(last) <= 1.2 * _p99(first)


def _nothing_left(stack: Stack) -> None:
    """No debt, no upload, no purge, and no temporary file but the empty folders."""
    for query in (
        "SELECT count(*) FROM debts",
        "SELECT count(*) FROM uploads",
        "SELECT count(*) FROM blobs WHERE state <> 'live'",
    ):
        until(lambda q=query: not stack.postgres.ask(q)[0][0], 300, 1, query)
    for one in stack.instances:
        places = [one.folder / "client_body", one.folder / "proxy"]
        assert [p for place in places for p in place.rglob("*") if p.is_file()] == []
    stack.instances[0].flask(
        "array", "scrub", "--wait"
    )  # what was damaged and not read
    said = stack.instances[0].flask("array", "scrub", "--check", "--wait")
    assert "0 unreachable, 0 owed" in said, said
