"""The job of the scrub: what is bad is repaired and said, and nothing else touched."""

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from raid import levels, shards
from raid.array import Array
from raid.errors import BlobDamaged, BlobUnreachable, MemberFailing
from raid.geometry import Level
from raid.manifest import Manifest
from storage import debts, reshaping
from storage.db import db, release, transaction, utcnow
from storage.jobs import look, runner, scrub, table
from storage.members.calls import SystemCalls
from storage.models import Blob, Debt, Event, Job, JobKind, JobState
from support.arrays import memory_array
from support.faulty import flip
from support.soak import times
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB)


def ask(store: Store, mode: str = "repair") -> int:
    """Ask for a scrub."""
    return table.request(JobKind.SCRUB, params={"mode": mode})


def job_of(number: int) -> Job:
    """The row as it is now."""
    job = db.session.get(Job, number, populate_existing=True)
    release()
    assert job is not None
    return job


def run(store: Store, mode: str = "repair") -> Job:
    """Scrub from beginning to end, at full pace."""
    table.set_pace(100)
    number = ask(store, mode)
    for _ in range(200):
        store.runtime.forget_map()
        runner.run_step(store.runtime.array(), number)
        if job_of(number).state not in (JobState.QUEUED, JobState.RUNNING):
            break
    return job_of(number)


def found(job: Job) -> dict[str, int]:
    """The counts of a scrub that are not 0, without how much was looked at."""
    return {
        word: count
        for word, count in job.counts.items()
        if count and word not in ("objects", "bytes")
    }


def some(store: Store, count: int = 1) -> list[Blob]:
    """Store files of every form."""
    return [store.put(size) for size in SIZES for _ in range(count)]


def words(store: Store) -> list[str]:
    """The events so far."""
    return [event.word for event in store.rows(Event)]


def test_a_whole_array_is_looked_at_and_nothing_is_changed(store: Store) -> None:
    """Every object and byte is counted, and a second scrub counts the same (I-5)."""
    some(store)
    before = {name: _bytes(store, name) for name in store.objects()}
    job = run(store)
    assert (job.state, job.problem, job.report) == (JobState.DONE, None, [])
    assert found(job) == {}
    assert job.counts["objects"] == len(before)
    assert job.counts["bytes"] == sum(map(len, before.values()))
    assert (job.done_bytes, job.total_bytes) == (sum(SIZES), sum(SIZES))
    assert (job.done_objects, job.total_objects) == (4, 4)
    assert run(store).counts == job.counts
    assert {name: _bytes(store, name) for name in store.objects()} == before
    assert store.debts() == []


def _bytes(store: Store, name: str) -> bytes:
    slot, _, key = name.partition("/")
    return (store.member(int(slot)) / key).read_bytes()


@pytest.mark.sqlite
@pytest.mark.parametrize("slot", range(4))
def test_bits_that_flip_on_one_member_are_all_found_and_all_repaired(
    store: Store, slot: int
) -> None:
    rng = random.Random(slot)
    for _ in range(times(1)):
        some(store)
        right = {}
        for path in sorted((store.member(slot) / "o").rglob("*.*")):
            right[path] = path.read_bytes()
            near = rng.choice([len(right[path]), min(600, len(right[path]))])
            path.write_bytes(flip(right[path], rng.randrange(near * 8)))
        job = run(store)
        assert found(job) == {"bad": len(right), "repaired": len(right)}
        assert {row["slot"] for row in job.report} == {slot}
        assert all(path.read_bytes() == data for path, data in right.items())
        assert store.debts() == []
        assert found(run(store)) == {}
        store.check()


@pytest.mark.sqlite
@pytest.mark.parametrize("how", ["missing", "cut", "longer", "swapped", "zeroed"])
def test_whatever_is_wrong_with_an_object_it_is_repaired(
    store: Store, how: str
) -> None:
    some(store)
    files = sorted((store.member(2) / "o").rglob("*.*"))
    right = {path: path.read_bytes() for path in files}
    _spoil(files, how)
    job = run(store)
    word = {"cut": "size", "longer": "size", "missing": "missing"}.get(how, "bad")
    assert job.counts["repaired"] == len(files) == sum(found(job).values()) / 2
    assert job.counts[word] > 0
    assert {path: path.read_bytes() for path in files} == right
    assert found(run(store)) == {}
    assert "scrub_found" in words(store)


def _spoil(files: list[Path], how: str) -> None:
    contents = [path.read_bytes() for path in files]
    for at, path in enumerate(files):
        data = contents[at]
        if how == "missing":
            path.unlink()
        elif how == "cut":
            os.truncate(path, len(data) // 2)
        elif how == "longer":
            path.write_bytes(data + b"more")
        elif how == "swapped":
            path.write_bytes(contents[at - 1].ljust(len(data), b"\0")[: len(data)])
        else:
            path.write_bytes(bytes(len(data)))


@pytest.mark.sqlite
def test_a_manifest_that_is_intact_and_stale_is_replaced(store: Store) -> None:
    """Of this very blob and rightly sealed, but not the one that the rows note."""
    blob = store.put(1000)
    path = store.paths(0, blob.uuid)[0]
    right = Manifest.unpack(path.read_bytes())
    old = replace(right.description, name="b.txt")
    stale = replace(right, description=old, stored=b"").pack()
    assert len(stale) == right.length and Manifest.unpack(stale).blob == blob.uuid
    path.write_bytes(stale)
    assert found(run(store)) == {"bad": 1, "repaired": 1}
    assert path.read_bytes() == right.pack()


def test_check_mode_changes_nothing(store: Store) -> None:
    blobs = some(store)
    path = store.paths(1, blobs[2].uuid)[0]
    path.write_bytes(flip(path.read_bytes(), 4000))
    with transaction() as session:
        session.query(Blob).update({"slots": None})
    before = {name: _bytes(store, name) for name in store.objects()}
    job = run(store, "check")
    assert found(job) == {"bad": 1}
    (row,) = job.report
    assert (row["blob"], row["slot"], row["what"]) == (str(blobs[2].uuid), 1, "bad")
    assert store.debts() == []
    assert {name: _bytes(store, name) for name in store.objects()} == before
    assert all(blob.slots is None and not blob.at_risk for blob in store.rows(Blob))
    assert not scrub.is_well(job)
    job = run(store)
    assert found(job) == {"bad": 1, "repaired": 1}
    assert scrub.is_well(job)


@pytest.mark.sqlite
def test_two_bad_members_are_honestly_lost_and_the_rest_is_unaffected(
    store: Store,
) -> None:
    """Nothing is emptied; what is bad stays where it is, and is said."""
    lost, *fine = [store.put(300 * KIB) for _ in range(3)]
    bad = [store.paths(slot, lost.uuid)[0] for slot in (0, 1)]
    wrong = [flip(path.read_bytes(), 8 * 5000) for path in bad]
    for path, data in zip(bad, wrong, strict=True):
        path.write_bytes(data)
    single = store.paths(3, fine[0].uuid)[0]
    single.write_bytes(flip(single.read_bytes(), 8 * 5000))
    job = run(store)
    assert found(job) == {"bad": 3, "repaired": 1}
    assert [path.read_bytes() for path in bad] == wrong
    with pytest.raises(BlobDamaged):
        store.get(lost.uuid)
    marked = {blob.uuid for blob in store.rows(Blob) if blob.damaged}
    assert marked == {lost.uuid}
    store.contents.pop(lost.uuid)
    store.check()
    assert not scrub.is_well(job)


@pytest.mark.sqlite
def test_a_member_away_makes_it_partial(store: Store) -> None:
    """Skipped and said; what it lacks is no damage, and the others are looked at."""
    blobs = some(store)
    count = len(store.objects(3))
    store.lose(3)
    store.runtime.check_members()
    path = store.paths(0, blobs[2].uuid)[0]
    path.write_bytes(flip(path.read_bytes(), 8 * 4000))
    job = run(store)
    assert job.state == JobState.DONE
    assert found(job) == {"unreachable": count, "bad": 1}, "two of four can't repair"
    assert job.problem == (
        f"Partial: {count} objects are on members that can't be reached."
    )
    assert not scrub.is_full(job)
    store.bring_back(3)
    store.make_due()
    store.settle()
    assert store.debts() == []
    assert found(run(store)) == {}


def test_what_a_stale_member_is_owed_is_no_damage(store: Store) -> None:
    """It came back and nothing is paid yet: its absence means nothing (I-8)."""
    store.lose(1)
    some(store)
    store.bring_back(1)
    store.runtime.check_members()
    job = run(store, "check")
    assert found(job) == {"owed": 4}
    assert job.report == []


def test_a_blob_that_was_let_go_of_meanwhile_is_no_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its objects vanish under the look: the row is read again."""
    blob = store.put(300 * KIB)
    real, fired = look.look_at_segment, []

    def purged(*said: Any) -> Any:
        for slot in range(4):
            for path in store.paths(slot, blob.uuid):
                path.unlink()
        with store.app.app_context():
            store.let_go(blob.uuid)
        fired.append(blob.uuid)
        return real(*said)

    monkeypatch.setattr(look, "look_at_segment", purged)
    job = run(store)
    assert fired
    assert found(job) == {}
    assert job.report == store.debts() == []


def _lose_all(store: Store, blobs: list[Blob]) -> None:
    for blob in blobs:
        for slot in (0, 1):
            for path in store.paths(slot, blob.uuid):
                path.write_bytes(flip(path.read_bytes(), 8 * 600))


@pytest.mark.sqlite
@pytest.mark.parametrize("size", [1000, 300 * KIB], ids=["manifests", "segments"])
def test_too_much_at_once_makes_it_suspect_the_metadata(
    store: Store, size: int
) -> None:
    """Paused with a sentence and an event; nothing of that run becomes a debt."""
    blobs = sorted((store.put(size) for _ in range(30)), key=lambda blob: blob.uuid)
    _lose_all(store, blobs[6:])
    single = store.paths(2, blobs[3].uuid)[0]
    right = single.read_bytes()
    single.write_bytes(flip(right, 8 * 600))
    before = {name: _bytes(store, name) for name in store.objects() if name[0] != "2"}
    job = run(store)
    assert job.state == JobState.PAUSED
    assert job.problem is not None and "metadata or credentials" in job.problem
    assert found(job) == {"bad": 1}, "what came before that run counts"
    assert [debt.blob for debt in store.debts()] == [blobs[3].uuid]
    assert "scrub_suspects" in words(store)
    store.settle()
    assert single.read_bytes() == right
    for name, data in before.items():
        assert _bytes(store, name) == data, "nothing was touched"
    for blob in blobs[6:]:
        _heal(store, blob)
    assert table.resume(job.id)
    job = run(store)
    assert found(job) == {"bad": 1, "repaired": 1}
    assert job.counts["objects"] == 30 * 4, "the run that was suspected as well"
    store.check()


def _heal(store: Store, blob: Blob) -> None:
    for slot in (0, 1):
        for path in store.paths(slot, blob.uuid):
            path.write_bytes(flip(path.read_bytes(), 8 * 600))


@pytest.mark.sqlite
def test_much_damage_on_one_member_is_no_suspicion(store: Store) -> None:
    """A whole member of rot is what the array is for."""
    for _ in range(20):
        store.put(1000)
    for path in (store.member(1) / "o").rglob("*.*"):
        path.write_bytes(flip(path.read_bytes(), 8 * 600))
    assert found(run(store)) == {"bad": 20, "repaired": 20}


@pytest.mark.sqlite
def test_a_few_lost_files_among_many_are_no_suspicion(store: Store) -> None:
    blobs = sorted((store.put(1000) for _ in range(40)), key=lambda blob: blob.uuid)
    _lose_all(store, blobs[::3])
    job = run(store)
    assert job.state == JobState.DONE
    assert found(job) == {"bad": 28, "repaired": 28}, "two copies are left of each"


def test_it_goes_on_where_another_worker_stood_still(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle: all is found once, and a big file is not begun anew."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    some(store)
    files = sorted((store.member(0) / "o").rglob("*.*"))
    right = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(flip(right[path], 8 * 100))
    number = ask(store)
    table.set_pace(100)
    steps = 0
    while job_of(number).state in (JobState.QUEUED, JobState.RUNNING):
        assert runner.run_step(store.runtime.array(), number) == 1
        steps += 1
        store.runtime.leases.clear()  # another process has never heard of the lease
        with transaction() as session:
            job = session.get(Job, number)
            if job is not None and job.lease:
                job.lease_until = utcnow() - timedelta(seconds=1)
    job = job_of(number)
    assert steps >= 7 and job.takeovers == steps - 1
    assert found(job) == {"bad": len(files), "repaired": len(files)}
    assert {path: path.read_bytes() for path in files} == right


@pytest.mark.sqlite
def test_a_wrong_parity_with_the_right_tag_is_reported_and_marked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be repaired, because its tag is wrong as well: the blob is at risk."""
    real = levels.encode_parities

    def wrong(*said: Any) -> list[memoryview]:
        made = real(*said)
        made[0][::7] = bytes(len(made[0][::7]))
        return made

    monkeypatch.setattr(shards, "encode_parities", wrong)
    blob = store.put(300 * KIB)
    monkeypatch.undo()
    job = run(store)
    assert found(job) == {"parity": 1}
    assert store.rows(Blob)[0].at_risk
    assert store.debts() == []
    assert job.report[0]["what"] == "parity"
    assert "parity_wrong" in words(store)
    assert found(run(store)) == {"parity": 1}
    assert store.get(blob.uuid) == store.contents[blob.uuid]


def test_it_fills_what_the_rows_do_not_know_yet(store: Store) -> None:
    """Rows of an older release say nothing of slots and share."""
    blobs = some(store)
    with transaction() as session:
        session.query(Blob).update({"slots": None, "redundancy": None, "share": 0})
    run(store)
    rows = {blob.uuid: blob for blob in store.rows(Blob)}
    assert [rows[blob.uuid].slots for blob in blobs] == ["", "", "0 1 2 3", "0 1 2 3"]
    assert [rows[blob.uuid].redundancy for blob in blobs] == [None, None, 1, 1]
    assert [rows[blob.uuid].share > 0 for blob in blobs] == [False, False, True, True]


@pytest.mark.sqlite
def test_a_description_that_nobody_has_is_lost_and_not_emptied(store: Store) -> None:
    """Every manifest is bad: found on all four, repaired on none, kept as it is."""
    blob, fine = store.put(1000), store.put(1000)
    paths = [store.paths(slot, blob.uuid)[0] for slot in range(4)]
    for path in paths:
        path.write_bytes(flip(path.read_bytes(), 8 * 50))
    store.runtime.manifests = type(store.runtime.manifests)()
    before = [path.read_bytes() for path in paths]
    job = run(store)
    assert found(job) == {"bad": 4}
    assert [path.read_bytes() for path in paths] == before
    assert {blob.uuid for blob in store.rows(Blob) if blob.damaged} == {blob.uuid}
    assert store.get(fine.uuid) == store.contents[fine.uuid]


@pytest.mark.sqlite
def test_too_many_members_away_is_no_damage(store: Store) -> None:
    """Two of four are away: nothing is accused, nothing owed, nothing repaired."""
    blob = store.put(300 * KIB)
    store.lose(0)
    store.lose(1)
    store.runtime.check_members()
    store.runtime.manifests = type(store.runtime.manifests)()
    job = run(store)
    assert job.state == JobState.DONE
    assert found(job) == {"unreachable": 2}
    assert store.debts() == []
    with pytest.raises(BlobUnreachable):
        store.get(blob.uuid)


@pytest.mark.sqlite
def test_raid1_is_scrubbed_as_well(make_store: Callable[..., Store]) -> None:
    store = make_store(2, ARRAY_LEVEL="raid1")
    some(store)
    files = list((store.member(1) / "o").rglob("*.*"))
    for path in files:
        path.write_bytes(path.read_bytes()[:-1])
    assert found(run(store)) == {"size": len(files), "repaired": len(files)}
    assert len(store.rows(Debt)) == 0
    store.check()


def _fail_reads(
    store: Store, monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]
) -> list[int]:
    """Let the disk say EIO for some open files, from now on; returns what fired."""
    real, fired, armed = SystemCalls.pread, [], []

    def pread(self: SystemCalls, fd: int, count: int, offset: int) -> bytes:
        if armed and bad(fd):
            fired.append(offset)
            raise OSError(errno.EIO, "Input/output error")
        return real(self, fd, count, offset)

    monkeypatch.setattr(SystemCalls, "pread", pread)
    store.restart()
    store.runtime.check_members()
    armed.append(True)
    return fired


@pytest.mark.sqlite
@pytest.mark.parametrize("size", [1000, 300 * KIB, 2 * MIB])
def test_what_lies_on_a_bad_sector_is_written_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """EIO under one object of a member that is in order: it moves to quarantine."""
    monkeypatch.setattr("raid.health.REST", 0.0)
    blob = store.put(size)
    path = store.paths(1, blob.uuid)[0]
    right, sector = path.read_bytes(), path.stat().st_ino
    fired = _fail_reads(store, monkeypatch, lambda fd: os.fstat(fd).st_ino == sector)
    job = run(store)
    assert fired
    assert found(job) == {"bad": 1, "repaired": 1}
    assert (path.read_bytes(), path.stat().st_ino) != (right, sector)
    assert path.read_bytes() == right
    assert len(list(store.member(1).glob("quarantine/*"))) == 1
    assert found(run(store)) == {}


@pytest.mark.sqlite
def test_a_disk_that_fails_altogether_is_away_and_not_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO everywhere, also under its superblock: nothing is said of its objects."""
    some(store)
    disk = str(store.member(1))
    fired = _fail_reads(
        store,
        monkeypatch,
        lambda fd: os.readlink(f"/proc/self/fd/{fd}").startswith(disk),
    )
    job = run(store)
    assert fired
    assert found(job) == {"unreachable": len(store.objects(1))}
    assert store.debts() == job.report == []


@pytest.mark.sqlite
@pytest.mark.parametrize("returns", [True, False])
def test_a_member_that_rests_is_waited_for_before_the_end(
    store: Store, returns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector that a reader met rests its member; for a while, not for ever."""
    monkeypatch.setattr("raid.health.REST", 1000.0)
    blob = store.put(300 * KIB)
    path = store.paths(1, blob.uuid)[0]
    path.write_bytes(flip(path.read_bytes(), 8 * 5000))
    number, own = ask(store), store.runtime
    runner.run_step(own.array(), number)
    own.health.note(1, MemberFailing("1", "A bad sector."))
    runner.run_step(own.array(), number)
    assert job_of(number).state == JobState.RUNNING
    assert own.rests[number] - time.monotonic() > scrub.WAIT_SECONDS / 2
    if returns:
        own.health.ok(1, write=True)
    for _ in range(scrub.MOST_WAITS):
        runner.run_step(own.array(), number)
    job = job_of(number)
    assert job.state == JobState.DONE
    assert job.counts["repaired"] == (1 if returns else 0)


@pytest.mark.sqlite
def test_what_a_slot_on_its_way_out_is_not_given_is_no_damage(store: Store) -> None:
    """New files put their descriptions on the members that stay."""
    store.put(300 * KIB)
    table.pause(reshaping.narrow(3))
    for size in SIZES:
        store.put(size)
    job = run(store)
    assert (job.state, found(job), job.report) == (JobState.DONE, {}, [])
    assert store.debts() == []


@pytest.mark.sqlite
def test_it_waits_for_what_another_is_just_repairing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has taken the debts of the damage; the scrub counts when it is done."""
    some(store)
    files = sorted((store.member(2) / "o").rglob("*.*"))
    _spoil(files, "zeroed")
    taken, real = [], debts.pay

    def pay(array: Array, stop: Callable[[], bool]) -> int:
        if len(taken) <= scrub.MOST_WAITS + 2:
            taken.append(debts._claim(array.uuid_of(2)))
        if len(taken) == scrub.MOST_WAITS + 2:
            debts._let_go(db.session, taken[0])
            db.session.commit()
        return real(array, stop)

    monkeypatch.setattr(debts, "pay", pay)
    monkeypatch.setattr(scrub, "OTHERS_SECONDS", 0.0)
    job = run(store)
    assert len(taken[0].due) == len(files)
    assert found(job) == {"bad": len(files), "repaired": len(files)}


@pytest.mark.sqlite
def test_who_stops_a_walk_waits_until_nothing_is_read_any_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next step, on another instance perhaps, would read beside it."""
    for _ in range(20):
        store.put(300 * KIB)
    real, reading, ended = look.look_at_segment, [], []

    def slow(*said: Any) -> Any:
        reading.append(1)
        time.sleep(0.05)
        ended.append(1)
        return real(*said)

    monkeypatch.setattr(look, "look_at_segment", slow)
    walk = look.pieces(store.runtime.array(), None, random.randrange, lambda: True)
    next(walk)
    walk.close()
    assert 1 < len(reading) < 20
    assert len(ended) == len(reading)
    time.sleep(0.1)
    assert len(ended) == len(reading) < 20


@pytest.mark.parametrize(("processors", "threads"), [(2, 2), (64, 8)])
@pytest.mark.parametrize("far", [False, True])
def test_near_members_are_looked_at_by_as_many_threads_as_there_are_processors(
    monkeypatch: pytest.MonkeyPatch, processors: int, threads: int, far: bool
) -> None:
    """Where every request takes its time on the way there are more."""
    array = memory_array(Level.RAID5, 4)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    if far:
        array.members[2].run_units = 4
    assert look.lookers(array) == (look.MOST_LOOKERS if far else threads)
