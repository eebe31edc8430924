"""Members in buckets behind the fault proxy."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import count

from storage.members.s3 import S3Member
from storage.members.s3url import parse_bucket_url
from support.arrays import Clock
from support.buckets import HurriedCalls, S3Server
from support.faultproxy import CUTTING, ERRORS, FaultProxy, Plan, dice

HURRY = 0.15
"""Seconds for a request of a member whose server hangs."""

FLAKY = "flaky"
"""Three requests in ten meet a fault of any kind that is no lie."""


class Place:
    """A bucket, and a member in it that can be spoilt; `fired` counts the faults.

    Clients are dear, so that another member may take the place of the first.
    """

    def __init__(
        self, proxy: FaultProxy, server: S3Server, clock: Clock | None = None
    ) -> None:
        """Make a bucket with a blank member."""
        self.server, self.name = server, server.bucket()
        self.way = proxy.way(self.name)
        self._url = f"s3://{self.name}/%s?endpoint={proxy.endpoint}"
        self._numbers = count(1)
        self._taken = count(100)
        self.calls = HurriedCalls(parse_bucket_url(self._url % ""))
        self.anew(clock or Clock())

    def anew(self, clock: Clock) -> None:
        """Put a blank member into a folder of its own, as if nothing had been."""
        self.clock = clock
        self.prefix = f"{next(self._numbers)}"
        bucket = parse_bucket_url(self._url % self.prefix)
        self.member = S3Member(bucket, calls=self.calls, clock=clock)
        self.way.random = random.Random(0)
        self.way.spoilt.clear()
        self.way.fired.clear()
        self.heal()

    @property
    def fired(self) -> Counter[str]:
        """How often each kind of fault happened."""
        return self.way.fired

    def key(self) -> str:
        """Return a key that nobody used before."""
        return f"o/ab/abcdef00-0000-4000-8000-000000000000.m{next(self._taken)}"

    def always(self, kind: str | None) -> None:
        """Let every request meet a fault from now on, or, with None, none."""
        if kind == FLAKY:
            self.follow(dice(0, (*ERRORS, *CUTTING), 0.3), hurry=True)
        else:
            self._follow(kind)
            self.way.always(kind)

    def on_call(self, method: str, nth: int, kind: str) -> None:
        """Let the n-th request of a method, counted from now, meet a fault."""
        self._follow(kind)
        self.way.on_call(method, nth, kind)

    def follow(self, plan: Plan, *, hurry: bool = False) -> None:
        """Let a plan decide; ``hurry`` where it may let a request hang."""
        self._follow("hang" if hurry else None)
        self.way.plan = plan

    def _follow(self, kind: str | None) -> None:
        self.calls.hurry = HURRY if kind == "hang" else None
        self.calls.refresh()

    def heal(self) -> None:
        """Let all be well."""
        self.always(None)

    def spoilt(self) -> Iterator[tuple[str, str]]:
        """Yield kind and key of each PUT to the member that met a fault."""
        begin = f"/{self.name}/{self.prefix}/"
        for kind, path in self.way.spoilt:
            if path.startswith(begin):
                yield kind, path.removeprefix(begin)

    def clear(self) -> None:
        """Delete everything in the bucket, past the proxy and the member."""
        client = self.server.client
        while found := client.list_objects_v2(Bucket=self.name).get("Contents"):
            keys = [{"Key": one["Key"]} for one in found]
            client.delete_objects(Bucket=self.name, Delete={"Objects": keys})
