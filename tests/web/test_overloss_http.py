"""More members go than the level allows, while the site runs: all is said, none lost.

Two of four go under RAID-5. The list of files is rows and stays; what can't be read is
a 503 that names nobody's path to the user and the members in the log; nothing is taken
for deleted. When one is back, everything is as it was.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import IncompleteRead
from pathlib import Path
from uuid import UUID

import pytest

from support.busy import refusal
from support.client import JSON, Answer, Client
from support.site import Site, until
from support.soak import times

KIB, MIB = 1024, 1024 * 1024
INLINE, LARGER = (0, 500, 60 * KIB), (70 * KIB, 300 * KIB, 26 * MIB)
PROBE = "probe"
LIVE = "SELECT uuid FROM blobs WHERE state = 'live'"
SETTINGS = {"PURGE_GRACE_SECONDS": "0"}


class Kept:
    """One person's files, as they were acknowledged."""

    def __init__(self, person: Client) -> None:
        self.person, self.folder = person, person.root()
        self.files: dict[str, tuple[str, int]] = {}
        self.names: dict[str, str] = {}

    def put(self, name: str, size: int) -> None:
        """Store a file that must be acknowledged."""
        body = os.urandom(size)
        answer = self.person.put(self.folder, name, body).expect(201)
        self.files[answer.json["id"]] = (hashlib.sha256(body).hexdigest(), size)
        self.names[name] = answer.json["id"]

    def delete(self, name: str) -> None:
        """Delete a file for good."""
        entry = self.names.pop(name)
        for step in ("delete", "purge"):
            path = f"/files/file/{entry}/{step}"
            self.person.post(path, {"confirm": "yes"}).expect(302, 303)
        del self.files[entry]

    def check(self) -> None:
        """Everything is listed and reads as it was sent."""
        assert set(self.person.names()) - {PROBE} == set(self.names)
        for entry, expected in self.files.items():
            assert self.person.digest(entry) == expected


@pytest.fixture
def kept(site: Site, request: pytest.FixtureRequest) -> Iterator[Kept]:
    """Somebody with a file of every kind, some of them deleted just now."""
    kept = Kept(site.client().register(f"p{abs(hash(request.node.name)) % 10**9}"))
    for size in (*INLINE, *LARGER):
        kept.put(f"old-{size}", size)
    kept.check()
    yield kept
    kept.check()


@contextmanager
def _away(site: Site, slots: list[int]) -> Iterator[list[Path]]:
    """These members are away; the block may bring some of them back itself."""
    places = [site.members[slot] for slot in slots]
    for place in places:
        place.rename(_hidden(place))
    try:
        yield places
    finally:
        for place in places:
            _bring_back(place)


def _hidden(place: Path) -> Path:
    return place.with_name(f"{place.name}.away")


def _bring_back(place: Path) -> None:
    if _hidden(place).exists():
        assert not place.exists(), "something was written where no disk is"
        _hidden(place).rename(place)


def _objects(site: Site) -> dict[str, set[str]]:
    """What lies on the members, wherever they are just now."""
    found = {}
    for member in site.members:
        place = member if member.exists() else _hidden(member)
        found[member.name] = {
            str(path.relative_to(place))
            for path in (place / "o").rglob("*")
            if path.is_file()
        }
    return found


def _probe(kept: Kept, size: int = 500) -> Answer:
    """Try to store something that no check counts."""
    return kept.person.put(kept.folder, PROBE, os.urandom(size), replace=True)


@pytest.mark.parametrize("slots", [[0, 1], [3, 2], [0, 2], [1, 3]][: times(1)])
def test_one_member_more_than_the_level_allows(
    site: Site, kept: Kept, slots: list[int]
) -> None:
    """It lists, reads what it can, refuses the rest in words, and goes on after."""
    workers = site.server.web_pids(), site.server.worker_pid()
    with _away(site, slots) as places:
        until(lambda: _probe(kept).status == 503, 20, what="the loss was seen")
        before = _objects(site)
        _lists_and_serves_what_is_inline(site, kept)
        _refuses_the_rest(site, kept, places)
        _refuses_uploads(site, kept, places)
        _worker_deletes_nothing(site, kept, before)
        _bring_back(places[0])
        until(lambda: _reads(kept), 60, every=0.5, what="everything reads again")
        until(lambda: _probe(kept).status < 300, 30, every=0.5, what="uploads go on")
        kept.put("after", 300 * KIB)
        kept.check()
    until(lambda: site.owed() == 0, 90, every=0.5, what="every debt is paid")
    states = "SELECT count(*) FROM members WHERE state != 'in_sync'"
    until(lambda: site.query(states)[0][0] == 0, 60, what="every member in sync")
    until(lambda: not site.orphans(), 60, what="no orphans")
    assert (site.server.web_pids(), site.server.worker_pid()) == workers


def _lists_and_serves_what_is_inline(site: Site, kept: Kept) -> None:
    assert set(kept.person.names()) - {PROBE} == set(kept.names)
    for size in INLINE:
        entry = kept.names[f"old-{size}"]
        assert kept.person.digest(entry) == kept.files[entry]
    page = kept.person.get("/files/").expect(200).page.visible
    assert "away" in page
    for path in ("/healthz", "/readyz"):
        site.client().get(path).expect(200)


def _refuses_the_rest(site: Site, kept: Kept, places: list[Path]) -> None:
    """A third of each file, at least, is on members that are away."""
    for size in LARGER:
        entry = kept.names[f"old-{size}"]
        answer = _fetch(kept.person, entry, size)
        assert answer is None or refusal(answer) == ""
    for size in LARGER[:2]:
        entry = kept.names[f"old-{size}"]
        for headers in ({}, JSON):
            thirds = [
                _byte(kept, entry, at, headers) for at in (0, size // 2, size - 1)
            ]
            assert set(thirds) <= {206, 503}
            assert 503 in thirds
    line = _last(site, "members_away")
    assert any(place.name in str(line) for place in places), line


def _byte(kept: Kept, entry: str, at: int, headers: dict[str, str]) -> int:
    answer = kept.person.download(entry, Range=f"bytes={at}-{at}", **headers)
    assert answer.status == 206 or refusal(answer) == ""
    return answer.status


def _fetch(person: Client, entry: str, size: int) -> Answer | None:
    """Download; None when it was cut off, which is what remains after a first byte."""
    try:
        return person.download(entry)
    except IncompleteRead as cut:
        assert len(cut.partial) < size
        person.close()
        return None


def _last(site: Site, code: str) -> dict[str, object]:
    return [line for line in site.log_lines() if line.get("error") == code][-1]


def _refuses_uploads(site: Site, kept: Kept, places: list[Path]) -> None:
    for size in (0, 500, 300 * KIB):
        answer = _probe(kept, size)
        assert refusal(answer) == ""
        assert answer.json["error"]["code"] == "array_failed"
        message = answer.json["error"]["message"]
        assert "Too many members are away" in message
        assert "nothing can be stored" in message
    line = _last(site, "array_failed")
    assert all(place.name in str(line) for place in places), line


def _worker_deletes_nothing(
    site: Site, kept: Kept, before: dict[str, set[str]]
) -> None:
    """A purge goes on where enough members know of it; nothing else is touched."""
    kept.delete(f"old-{70 * KIB}")
    due = "SELECT count(*) FROM blobs WHERE state = 'purging'"
    until(lambda: site.query(due)[0][0] > 0, 30, what="the worker began the purge")
    live = {UUID(row[0]) for row in site.query(LIVE)}
    now = _objects(site)
    for member, objects in before.items():
        lost = {key for key in objects - now[member] if _blob(key) in live}
        assert not lost, f"{member} lost {lost}"
        assert any(_blob(key) in live for key in objects)


def _blob(key: str) -> UUID:
    return UUID(Path(key).name.partition(".")[0])


def _reads(kept: Kept) -> bool:
    try:
        return all(kept.person.digest(e) == told for e, told in kept.files.items())
    except (AssertionError, IncompleteRead):
        kept.person.close()
        return False
