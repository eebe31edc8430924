"""A reader on a slow line who stops for a while: a long download arrives whole.

Nginx would cut it after a gigabyte if it kept what is not read yet in a file, gunicorn
after a minute if it waited for this client itself, and a load balancer when it takes a
client for gone too soon.
"""

import hashlib
import os
import random
import time
from collections.abc import Iterator

import pytest

from support.client import Client
from support.instance import Instance
from support.soak import FACTOR
from support.stack import Balancer, needs_haproxy

MIB = 1024 * 1024
SIZE = (3072 if FACTOR > 1 else 96) * MIB
A_SECOND = 5_000_000
PAUSE = 90 if FACTOR > 1 else 70
pytestmark = pytest.mark.timeout(3 * SIZE / A_SECOND + 150)


class Content:
    """Bytes that no compression and no repetition would make shorter, made twice."""

    def __init__(self) -> None:
        self.digest, self.seed = hashlib.sha256(), os.urandom(16)

    def __iter__(self) -> Iterator[bytes]:
        dice = random.Random(self.seed)
        for _ in range(SIZE // MIB):
            piece = dice.randbytes(MIB)
            self.digest.update(piece)
            yield piece


@pytest.fixture
def balancer(instance: Instance) -> Iterator[Balancer]:
    needs_haproxy()
    one = Balancer(instance.folder, [instance])
    try:
        yield one.start()
    finally:
        one.stop()


def test_a_slow_reader_who_stops_for_a_while_gets_all_of_it(balancer: Balancer) -> None:
    alice = Client(balancer.url).register("alice")
    content = Content()
    answer = alice.put(
        alice.root(), "long", iter(content), Content_Length=str(SIZE)
    ).expect(201)
    response = alice.open("GET", f"/files/file/{answer.json['id']}/download")
    got, stopped = hashlib.sha256(), 0
    begun, seen = time.monotonic(), 0
    while piece := response.read(MIB):
        got.update(piece)
        seen += len(piece)
        if seen * 2 >= SIZE and not stopped:
            stopped += 1
            time.sleep(PAUSE)
            begun += PAUSE
        if FACTOR > 1:
            time.sleep(max(0.0, begun + seen / A_SECOND - time.monotonic()))
    took = time.monotonic() - begun
    print(f"{seen} bytes in {took:.0f} s and a stop of {PAUSE} s")
    assert stopped == 1 and seen == SIZE
    assert got.digest() == content.digest.digest()
    alice.close()
