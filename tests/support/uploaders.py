"""People who upload while their server is killed, and what has to be true after it."""

import hashlib
import http.client
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from support.client import Client
from support.site import Beneath, until

KIB, MIB = 1024, 1024 * 1024
SIZES = (0, 700, 60 * KIB, 70 * KIB, 900 * KIB, 5 * MIB, 26 * MIB)
WEIGHTS = (2, 4, 4, 4, 4, 2, 1)
MOST = 40
"""Files of one person, who then only replaces them: else each round takes longer."""
UNDO_SECONDS = 75
_CUT = (OSError, http.client.HTTPException)


@dataclass
class Uploader:
    """One person who uploads without end and remembers what was promised.

    A failed check names the seed of the round in which it failed.
    """

    person: Client
    seed: int = 0
    promised: dict[str, str] = field(default_factory=dict)
    perhaps: dict[str, set[str]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)

    def run(self, folder: str, stop: threading.Event) -> None:
        """Upload and replace until the server is gone."""
        dice, serial = random.Random(self.seed), 0
        while not stop.is_set():
            serial += 1
            old = list(self.promised)
            again = bool(old) and (len(old) >= MOST or dice.random() < 0.3)
            name = dice.choice(old) if again else f"{self.seed}-{serial}"
            size = dice.choices(SIZES, WEIGHTS)[0]
            body = dice.randbytes(min(size, 4096)) * (size // 4096 + 1)
            if not self._send(folder, name, body[:size]):
                return

    def _send(self, folder: str, name: str, body: bytes) -> bool:
        digest = hashlib.sha256(body).hexdigest()
        self.perhaps.setdefault(name, set()).add(digest)
        self.touched.add(name)
        try:
            answer = self.person.put(folder, name, body, replace=True)
        except _CUT:
            self.person.close()
            return False
        if answer.status in {200, 201}:
            self.promised[name] = digest
            self.perhaps[name] = set()
        else:
            self.refused.append(answer.status)
        return True

    def check(self, *, everything: bool = True) -> int:
        """Compare what is shown with what was promised; give the number of files."""
        shown = {row["name"]: row for row in self.person.rows()}
        missing = set(self.promised) - set(shown)
        assert not missing, f"acknowledged and gone: {missing}"
        for name, row in shown.items():
            if not everything and name not in self.touched:
                continue
            digest, length = self.person.digest(row["id"])
            allowed = {self.promised.get(name)} | self.perhaps.get(name, set())
            assert digest in allowed, f"{name} is not what was sent"
            assert length == int(row["size"])
            self.promised[name], self.perhaps[name] = digest, set()
        self.touched.clear()
        return len(shown)


def interrupted(
    uploaders: list[Uploader], seed: int, seconds: float, kill: Callable[[], None]
) -> None:
    """Let everybody upload, and kill their server after so many seconds."""
    stop = threading.Event()
    for number, one in enumerate(uploaders):
        one.seed = seed * len(uploaders) + number
    threads = [
        threading.Thread(target=one.run, args=(one.person.root(), stop), daemon=True)
        for one in uploaders
    ]
    for thread in threads:
        thread.start()
    try:
        stop.wait(seconds)
        kill()
    finally:
        stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def quota_is_exact(site: Beneath, uploaders: list[Uploader]) -> None:
    """What counts against each of them is what they have, the trash included."""
    for one in uploaders:
        shown = sum(int(row["size"]) for row in one.person.rows())
        trash = one.person.get("/files/trash").expect(200).page.rows
        shown += sum(int(row["size"] or 0) for row in trash)
        assert site.used(one.person.name) == shown


def nothing_leaked(site: Beneath) -> None:
    """Once the worker has tidied up, nothing is left of what was cut off."""
    uploads = "SELECT count(*) FROM uploads"
    until(lambda: site.query(uploads)[0][0] == 0, UNDO_SECONDS, what="uploads undone")
    until(lambda: not site.temporary(), UNDO_SECONDS, what="temporary files went")
    until(lambda: not site.orphans(), UNDO_SECONDS, what=f"orphans {site.orphans()}")
    gone = "SELECT count(*) FROM blobs WHERE state != 'live'"
    until(lambda: site.query(gone)[0][0] == 0, UNDO_SECONDS, what="purges ended")
