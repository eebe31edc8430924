"""People who go on using a site while its database is in trouble.

Each of them uploads, lists and downloads without end, remembers what was acknowledged,
and notes every answer that is neither right nor an honest refusal.
"""

import hashlib
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from support.client import JSON, Answer, Client
from support.site import Site, until

KIB = 1024
SIZES = (0, 700, 60 * KIB, 70 * KIB, 300 * KIB)
NAMES = 12
TITLE = "This can&#39;t be reached right now"
REQUEST = re.compile(r"Request(?: id)?\W.{0,40}[0-9a-f]{8}", re.DOTALL)


def refusal(answer: Answer) -> str:
    """Say what is wrong with a refusal; an honest one gives an empty text."""
    if answer.status != 503:
        return f"status {answer.status}: {answer.text[:300]}"
    if "Retry-After" not in answer.headers:
        return f"no Retry-After: {answer.text[:300]}"
    for word in ("Traceback", "sqlalchemy", "psycopg", "sqlite", "SELECT"):
        if word in answer.text:
            return f"the answer tells {word}: {answer.text[:300]}"
    if answer.headers.get_content_type() == "application/json":
        return "" if answer.json["error"]["request_id"] else "no id of the request"
    if TITLE not in answer.text and TITLE.replace("&#39;", "'") not in answer.text:
        return f"not the page of an error: {answer.text[:300]}"
    return ""


@dataclass
class Busy:
    """One person, what was promised to them, and what they met."""

    person: Client
    seed: int
    promised: dict[str, str] = field(default_factory=dict)
    perhaps: dict[str, set[str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.person.root()
        self.dice = random.Random(self.seed)
        assert self.person.token

    def run(self, stop: threading.Event) -> None:
        """Go on until it is enough; whatever breaks is noted and not lost."""
        steps = (self.upload, self.list, self.download, self.upload, self.list_json)
        while not stop.is_set():
            try:
                for step in steps:
                    step()
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                self.person.close()

    def upload(self) -> None:
        """Put a file, new or in place of an old one."""
        name = f"f{self.dice.randrange(NAMES)}"
        body = self.dice.randbytes(self.dice.choice(SIZES))
        digest = hashlib.sha256(body).hexdigest()
        self.perhaps.setdefault(name, set()).add(digest)
        answer = self.person.put(self.folder, name, body, replace=True)
        if answer.status in {200, 201}:
            self.promised[name], self.perhaps[name] = digest, set()
            self.ids[name] = answer.json["id"]
            self.met["kept"] += 1
        else:
            self._refused("upload", answer)

    def list(self) -> None:
        """Read the page of the folder: all that was promised is on it."""
        answer = self.person.get("/files/")
        if answer.status != 200:
            self._refused("list", answer)
            return
        self.met["listed"] += 1
        missing = set(self.promised) - {row["name"] for row in answer.page.rows}
        if missing:
            self.wrong.append(f"acknowledged and not listed: {missing}")

    def list_json(self) -> None:
        """Ask for the same as a script."""
        answer = self.person.get("/files/", **JSON)
        if answer.status != 200:
            self._refused("list", answer)

    def download(self) -> None:
        """Fetch something that was promised."""
        if not self.ids:
            return
        name = self.dice.choice(list(self.ids))
        answer = self.person.download(self.ids[name])
        if answer.status != 200:
            self._refused("download", answer)
            return
        self.met["read"] += 1
        if hashlib.sha256(answer.body).hexdigest() not in self._allowed(name):
            self.wrong.append(f"wrong bytes of {name}")

    def check(self) -> int:
        """Compare all that is shown with what was promised; return how many."""
        rows = {row["name"]: row for row in self.person.rows()}
        assert not set(self.promised) - set(rows), "acknowledged and gone"
        for name, row in rows.items():
            digest, length = self.person.digest(row["id"])
            assert digest in self._allowed(name), f"{name} is not what was sent"
            assert length == int(row["size"]), name
            self.promised[name], self.perhaps[name] = digest, set()
        return len(rows)

    def _allowed(self, name: str) -> set[str]:
        promised = {self.promised[name]} if name in self.promised else set()
        return promised | self.perhaps.get(name, set())

    def _refused(self, what: str, answer: Answer) -> None:
        self.met[f"{what} refused"] += 1
        problem = refusal(answer)
        if problem:
            self.wrong.append(f"{what}: {problem}")


class Crowd:
    """Some busy people in front of a site."""

    def __init__(self, site: Site, count: int = 3) -> None:
        self.site = site
        self.people = [
            Busy(site.client().register(f"person-{number}"), number)
            for number in range(count)
        ]

    @contextmanager
    def at_work(self) -> Iterator["Crowd"]:
        """Let all of them work during the block; wrong answers fail the test."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=one.run, args=(stop,)) for one in self.people
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join(90)
        assert not any(thread.is_alive() for thread in threads), "somebody hangs"
        self.judge()

    def judge(self) -> None:
        """Fail when anybody met something that is neither right nor honest."""
        wrong = [text for one in self.people for text in one.wrong]
        assert not wrong, f"{len(wrong)} wrong answers, such as {wrong[:3]}"

    def met(self, word: str) -> int:
        """Return how often something was met."""
        return sum(one.met[word] for one in self.people)

    def wait_for(self, word: str, more: int = 3, seconds: float = 60) -> None:
        """Wait until every one of them met something so often from now on."""
        before = [one.met[word] for one in self.people]

        def enough() -> bool:
            return all(
                one.met[word] >= old + more or one.wrong
                for one, old in zip(self.people, before, strict=True)
            )

        until(enough, seconds, what=f"everybody: {word} {more} more times")

    def check(self) -> int:
        """Read everything back and compare the quota; return how many files."""
        files = 0
        for one in self.people:
            files += one.check()
            shown = sum(int(row["size"]) for row in one.person.rows())
            assert self.site.used(one.person.name) == shown, "the quota is not exact"
        return files


def nothing_leaked(site: Site, seconds: float = 75, *, purged: bool = True) -> None:
    """Wait for the worker to tidy up: no upload row, orphan or temporary file."""
    uploads = "SELECT count(*) FROM uploads"
    until(lambda: site.query(uploads)[0][0] == 0, seconds, what="uploads undone")
    until(lambda: not site.temporary(), seconds, what="temporary files went")
    gone = f"SELECT count(*) FROM blobs WHERE state {'!=' if purged else '='} ?"
    state = "live" if purged else "purging"
    until(lambda: site.query(gone, state)[0][0] == 0, seconds, what="purges ended")
    until(lambda: not site.orphans(), seconds, what="no orphans")
    assert site.owed() == 0
