"""A member that goes wrong while the server runs: clear answers, nothing lost."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from http.client import IncompleteRead
from itertools import product
from pathlib import Path

import pytest

from support.client import Client
from support.faults import Faults
from support.site import Site, until
from support.soak import drawn

KIB, MIB = 1024, 1024 * 1024
SIZES = (0, 500, 300 * KIB, 26 * MIB)
WRITING = ("fallocate", "writev", "fsync", "rename_noreplace", "mkdir")


class Kept:
    """What was acknowledged, and the check that it is still there."""

    def __init__(self, person: Client) -> None:
        self.person, self.digests = person, {}
        self.folder = person.root()

    def write(self, name: str, sizes: tuple[int, ...] = SIZES) -> None:
        """Put one file of every size; each must be acknowledged."""
        for size in sizes:
            body = os.urandom(size)
            answer = self.person.put(self.folder, f"{name}-{size}", body).expect(201)
            self.digests[answer.json["id"]] = (hashlib.sha256(body).hexdigest(), size)

    def check(self) -> None:
        """Download everything and compare."""
        for entry, expected in self.digests.items():
            assert self.person.digest(entry) == expected


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """The switchboard of the module's server."""
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def site(faults: Faults, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server whose system calls at the members can fail on demand."""
    folder = tmp_path_factory.mktemp("site")
    with Site(folder, environment=faults.environment) as site:
        yield site


@pytest.fixture
def kept(site: Site, faults: Faults, request: pytest.FixtureRequest) -> Iterator[Kept]:
    """Somebody with files from before the fault; the array is healed afterwards."""
    name = f"p{abs(hash(request.node.name)) % 10**9}"
    kept = Kept(site.client().register(name))
    quiet = lambda: "storage member" not in _banner(kept.person)  # noqa: E731
    until(quiet, 90, what="every member is used again")
    kept.write("before")
    yield kept
    fired = faults.fired()
    faults.clear()
    if fired:
        _forget(site)
    _healed(site)
    kept.check()


def _forget(site: Site) -> None:
    """Start anew: a server rests a member that failed for up to a minute."""
    site.server.kill()
    site.server.start()


def _healed(site: Site) -> None:
    """Wait until nothing is owed and every member is in sync."""
    states = "SELECT count(*) FROM members WHERE state != 'in_sync'"
    until(lambda: site.owed() == 0, 60, what="every debt is paid")
    until(lambda: site.query(states)[0][0] == 0, 60, what="every member in sync")


@pytest.mark.parametrize("slot", range(4))
def test_a_member_moved_away_and_put_back(site: Site, kept: Kept, slot: int) -> None:
    """Reads and writes go on, the banner says so, and the debts are paid after."""
    member = site.members[slot]
    away = member.with_name(f"{member.name}.away")
    member.rename(away)
    try:
        kept.check()
        kept.write("during")
        kept.check()
        assert not member.exists(), "something was written where no disk is"
        until(lambda: "away" in _banner(kept.person), 20, what="the banner")
        site.client().get("/readyz").expect(200)
    finally:
        away.rename(member)
    _healed(site)
    assert site.owed() == 0
    kept.check()
    until(lambda: "away" not in _banner(kept.person), 20, what="the banner went")


def _banner(person: Client) -> str:
    return person.get("/files/").expect(200).page.visible


@pytest.mark.parametrize(
    ("slot", "error"), drawn(product([0, 2], ["ENOSPC", "EROFS", "EIO"]), 2)
)
def test_a_member_that_takes_nothing(
    site: Site, faults: Faults, kept: Kept, slot: int, error: str
) -> None:
    """Full, read-only or failing: the others take the file, nothing is lost."""
    faults.add(site.members[slot], *WRITING, error=error)
    before = site.objects(site.members[slot])
    kept.write(f"during-{error}")
    assert faults.fired() > 0
    assert site.objects(site.members[slot]) <= before
    kept.check()
    assert kept.person.get("/files/").status == 200


def test_a_member_that_fails_in_the_middle_of_a_file(
    site: Site, faults: Faults, kept: Kept
) -> None:
    """The segment in hand is written again over the members that are left."""
    target = site.members[1]

    def body() -> Iterator[bytes]:
        for number in range(60):
            if number == 30:
                faults.add(target, *WRITING, error="EIO")
            yield blocks[number % 4]

    blocks = [os.urandom(MIB) for _ in range(4)]
    expected = hashlib.sha256(b"".join(blocks[n % 4] for n in range(60))).hexdigest()
    size = str(60 * MIB)
    answer = kept.person.put(kept.folder, "half", body(), Content_Length=size)
    entry = answer.expect(201).json["id"]
    assert faults.fired() > 0
    kept.digests[entry] = (expected, 60 * MIB)
    kept.check()


def test_reads_that_fail_are_rebuilt(site: Site, faults: Faults, kept: Kept) -> None:
    """EIO on every read of one member: the right bytes come from the others."""
    for slot in range(4):
        faults.clear()
        faults.add(site.members[slot], "pread", error="EIO")
        kept.check()
        assert faults.fired() > 0, f"d{slot} was never read"
        time.sleep(2.5)


def test_every_member_full_is_507_and_over_soon(
    site: Site, faults: Faults, kept: Kept
) -> None:
    """No member can take the bytes: a clear refusal; it works again by itself."""
    for member in site.members:
        faults.add(member, *WRITING, error="ENOSPC")
    answer = kept.person.put(kept.folder, "nowhere", os.urandom(300 * KIB))
    assert answer.status == 507, answer.text
    assert answer.json["error"]["code"] == "no_space"
    assert faults.fired() > 0
    assert "nowhere" not in kept.person.names()
    kept.check()
    faults.clear()
    body = os.urandom(300 * KIB)
    until(
        lambda: kept.person.put(kept.folder, "works", body, replace=True).status < 300,
        90,
        every=1,
        what="uploads work again",
    )


def test_two_members_away_refuses_and_loses_nothing(site: Site, kept: Kept) -> None:
    """Failed: what is inline still reads, the rest is 503, and both return."""
    gone = site.members[:2]
    for member in gone:
        member.rename(member.with_name(member.name + ".away"))
    try:
        answer = kept.person.put(kept.folder, "refused", os.urandom(MIB))
        assert answer.status == 503, answer.text
        for entry, (digest, size) in kept.digests.items():
            _right_or_honest(kept.person, entry, digest, size)
        assert len(kept.person.rows()) == len(SIZES)
        site.client().get("/readyz").expect(200)
    finally:
        for member in gone:
            member.with_name(member.name + ".away").rename(member)
    until(lambda: _readable(kept), 60, every=1, what="both members are used again")


def _right_or_honest(person: Client, entry: str, digest: str, size: int) -> None:
    """The right bytes, a 503 before the first, or a connection that is cut."""
    try:
        answer = person.download(entry)
    except IncompleteRead as cut:
        assert len(cut.partial) < size
        person.close()
        return
    assert answer.status in {200, 503}
    if answer.status == 200:
        assert hashlib.sha256(answer.body).hexdigest() == digest


def _readable(kept: Kept) -> bool:
    try:
        kept.check()
    except (AssertionError, IncompleteRead):
        kept.person.close()
        return False
    return True


def test_an_empty_folder_in_place_of_a_member_is_never_written_to(
    site: Site, kept: Kept
) -> None:
    """A mount that is gone leaves an empty directory: missing, not blank."""
    member = site.members[3]
    away = member.with_name("d3.away")
    member.rename(away)
    member.mkdir()
    try:
        kept.write("during")
        kept.check()
        assert list(member.iterdir()) == []
    finally:
        shutil.rmtree(member)
        away.rename(member)
    _healed(site)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def test_flipped_bits_are_never_served(site: Site, kept: Kept) -> None:
    """Every object of one member damaged under the running server."""
    damaged = 0
    for path in (site.members[2] / "o").rglob("*"):
        if path.is_file():
            _flip(path)
            damaged += 1
    assert damaged > 0
    kept.check()
    _healed(site)
    kept.check()
