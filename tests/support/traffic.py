"""People who use a deployment while it is being broken, and who remember everything."""

import hashlib
import http.client
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.client import Answer, Client

KIB = 1024
SIZES = (0, 3 * KIB, 60 * KIB, 300 * KIB, 1500 * KIB)
_LOST = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Slowly:
    """A body that comes in pieces, over so many seconds, as often as it is sent."""

    body: bytes
    seconds: float
    pieces: int = 20

    def __iter__(self) -> Iterator[bytes]:
        step = len(self.body) // self.pieces + 1
        for start in range(0, len(self.body), step):
            time.sleep(self.seconds / self.pieces)
            yield self.body[start : start + step]


@dataclass
class Person:
    """One of them: what was acknowledged, and what went wrong.

    Every request may be sent so many times, a second apart; what counts is how often
    the last one failed. Uploads carry an Idempotency-Key, as the page's do.
    """

    client: Client
    seed: int
    tries: int
    pause: float
    most: int | None = None
    """How many files to keep: the oldest beyond them are removed for good."""
    kept: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    perhaps: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Uploads take from one second to so many; without, as long as they need."""
    stubborn: int = 0
    """How many downloads and pages one repeat was not enough for."""
    took: list[tuple[float, float]] = field(default_factory=list)
    """When each request that was answered began, and how many seconds it took."""

    def __post_init__(self) -> None:
        self.folder = self.client.root()
        self.dice = random.Random(self.seed)
        assert self.client.token

    def run(self, stop: threading.Event) -> None:
        """Go on until it is enough."""
        steps = (self.upload, self.download, self.page, self.upload, self.remove)
        turn = 0
        while not stop.is_set():
            turn += 1
            stop.wait(self.pause)
            try:
                steps[turn % len(steps)](turn)
            except AssertionError as error:
                self.wrong.append(str(error))

    def _ask(self, what: str, *request: object, **more: object) -> Answer | None:
        """Send a request until it is answered; None when it never was."""
        said = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(1)
            self.asked[what] += 1
            begun = time.monotonic()
            try:
                answer = self.client.request(*request, **more)  # type: ignore[arg-type]
            except _LOST as error:
                self.client.close()
                said = f"{error!r} after {time.monotonic() - begun:.1f} s"
                continue
            if answer.status < 500:
                self.stubborn += attempt > 1 and request[0] == "GET"
                self.took.append((begun, time.monotonic() - begun))
                return answer
            said = f"{answer.status}: {answer.text[:200]}"
        self.failed.append(f"{what}: {said}")
        return None

    def upload(self, turn: int) -> None:
        """Put a new file."""
        name = f"{self.seed}-{turn}"
        body = os.urandom(self.dice.choice(SIZES))
        headers = {
            "X-CSRFToken": self.client.token,
            "Idempotency-Key": os.urandom(8).hex(),
        }
        path = f"/files/folder/{self.folder}/{name}"
        sent: object = body
        if self.slowest:
            sent = Slowly(body, self.dice.uniform(1, self.slowest))
            headers["Content-Length"] = str(len(body))
        answer = self._ask("upload", "PUT", path, sent, headers)
        if answer is None:
            self.perhaps.add(name)
            return
        assert answer.status == 201, f"upload: {answer.status} {answer.text[:300]}"
        self.kept[name] = hashlib.sha256(body).hexdigest()
        self.ids[name] = answer.json["id"]

    def download(self, _: int) -> None:
        """Fetch something that was acknowledged, and compare it."""
        if not self.kept:
            return
        name = self.dice.choice(list(self.kept))
        answer = self._ask("download", "GET", f"/files/file/{self.ids[name]}/download")
        if answer is None:
            return
        assert answer.status == 200, f"download of {name}: {answer.status}"
        found = hashlib.sha256(answer.body).hexdigest()
        assert found == self.kept[name], f"wrong bytes of {name}"

    def page(self, _: int) -> None:
        """Look at the folder."""
        answer = self._ask("page", "GET", "/files/")
        assert answer is None or answer.status == 200, f"page: {answer.status}"

    def remove(self, turn: int) -> None:
        """Put a file into the trash, now and then; and those that are too many."""
        if self.most is not None:
            while len(self.kept) > self.most:
                self._remove(next(iter(self.kept)), "delete", "purge")
        elif turn % 3 == 0 and len(self.kept) >= 5:
            self._remove(self.dice.choice(list(self.kept)), "delete")

    def _remove(self, name: str, *steps: str) -> None:
        entry = self.ids.pop(name)
        del self.kept[name]
        self.deleted.add(name)
        headers = {
            "X-CSRFToken": self.client.token,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        for step in steps:
            path = f"/files/file/{entry}/{step}"
            answer = self._ask(step, "POST", path, b"confirm=yes", headers)
            if answer is None:
                self.perhaps.add(name)
                return
            # A repeat of what was done already finds nothing there.
            assert answer.status in (303, 404, 409), f"{step}: {answer.status}"

    def check(self, client: Client) -> int:
        """Compare all that is shown with what was acknowledged; return how many."""
        rows = client.rows()
        shown = Counter(row["name"] for row in rows)
        assert max(shown.values(), default=0) <= 1, "a repeated upload came twice"
        lost = set(self.kept) - set(shown)
        assert not lost, f"acknowledged and gone: {sorted(lost)[:5]} of {len(lost)}"
        strange = set(shown) - set(self.kept) - self.perhaps
        assert not strange, f"deleted and there: {sorted(strange)[:5]}"
        for row in rows:
            if row["name"] in self.kept:
                digest, _ = client.digest(row["id"])
                assert digest == self.kept[row["name"]], f"wrong bytes: {row['name']}"
        return len(rows)


class Traffic:
    """All of them together."""

    def __init__(
        self,
        url: str,
        count: int,
        *,
        tries: int = 1,
        pause: float = 0.0,
        most: int | None = None,
        slowest: float = 0.0,
    ) -> None:
        """Register people at a site, who rest so many seconds after each request.

        With ``slowest`` one of them has a slow line: each upload takes up to that.
        """
        self.url = url
        team = os.urandom(3).hex()
        self.people = [
            Person(Client(url).register(f"{team}-{number}"), number, tries, pause, most)
            for number in range(count)
        ]
        self.people[-1].slowest = slowest

    @contextmanager
    def running(self) -> Iterator["Traffic"]:
        """Let them work during the block."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=one.run, args=(stop,), daemon=True)
            for one in self.people
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join(180)
        assert not any(thread.is_alive() for thread in threads), "somebody hangs"

    @property
    def asked(self) -> int:
        """How many requests were sent."""
        return sum(sum(one.asked.values()) for one in self.people)

    @property
    def stubborn(self) -> int:
        """How many downloads and pages one repeat was not enough for."""
        return sum(one.stubborn for one in self.people)

    @property
    def failed(self) -> list[str]:
        """What failed in the end, in words."""
        return [text for one in self.people for text in one.failed]

    @property
    def wrong(self) -> list[str]:
        """What was answered and is not right."""
        return [text for one in self.people for text in one.wrong]

    def check(self) -> int:
        """Read everything back; return how many files there are."""
        return sum(
            one.check(Client(self.url).login(one.client.name)) for one in self.people
        )

    def __str__(self) -> str:
        asked = sum((one.asked for one in self.people), Counter())
        words = ", ".join(f"{count} {what}s" for what, count in sorted(asked.items()))
        return f"{words}; {len(self.failed)} failed, {len(self.wrong)} wrong"
