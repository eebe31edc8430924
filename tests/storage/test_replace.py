"""A planned replacement: copied while the old member serves, then swapped."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from storage import membership, tombstones
from storage.db import transaction, utcnow
from storage.errors import Refused
from storage.jobs import runner, table
from storage.models import Blob, BlobState, JobKind, JobState, MemberRow
from support.faulty import flip
from support.jobs import active, finish, jobs, tick
from support.store import KIB, MIB, Store

SIZES = (0, 1000, 300 * KIB, 2 * MIB + 77)
LAYOUTS = (("raid1", 2), ("raid5", 4), ("raid6", 5), ("raid10", 4))


def files(member: Path) -> dict[str, bytes]:
    """Every object of a member and what it holds."""
    found = (path for path in (member / "o").rglob("*") if path.is_file())
    return {str(path.relative_to(member)): path.read_bytes() for path in found}


@pytest.mark.sqlite
@pytest.mark.parametrize(("level", "width"), LAYOUTS)
def test_redundancy_never_falls(
    make_store: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    width: int,
) -> None:
    """At every step any m members may be lost, and all can be read."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    store = make_store(width, ARRAY_LEVEL=level)
    for size in SIZES:
        store.put(size)
    held = files(store.member(1))
    membership.replace(1, "file:members/new")
    for _ in range(2):
        tick(store)
        assert store.states() == ["in_sync"] * width
        assert not any(blob.at_risk for blob in store.rows(Blob))
        away = store.runtime.array().without([0])
        assert away.state() in ("degraded", "clean")
        store.lose(0)
        store.check()
        store.bring_back(0)
        store.runtime.check_members()
    finish(store)
    assert files(store.folder / "new") == held
    rows = {row.url.removeprefix("file:members/"): row for row in store.rows(MemberRow)}
    assert (rows["new"].slot, rows["new"].state, rows["new"].target_slot) == (
        1,
        "in_sync",
        None,
    )
    assert (rows["1"].slot, rows["1"].state) == (None, "retired")
    store.lose(1)  # the old disk is taken out
    store.check()
    assert store.status().state == "clean"


def test_writes_and_deletes_while_it_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever commits owes the new member every new object; purges reach it, too."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    old = [store.put(size).uuid for size in SIZES * 3]
    membership.replace(2, "file:members/new")
    for number, uuid in enumerate(old[::2]):
        tick(store)
        assert active(store)
        blob = store.put(SIZES[number % 4])
        assert not blob.at_risk, "the old member has it"
        assert not any(row.state == "stale" for row in store.rows(MemberRow))
        store.let_go(uuid)
        with transaction() as session:
            session.execute(
                update(Blob)
                .where(Blob.state == BlobState.TOMBSTONED)
                .values(due_at=utcnow())
            )
    finish(store)
    finish(store)
    assert store.debts() == []
    assert store.states() == ["in_sync"] * 4
    left = {str(uuid) for uuid in store.contents}
    assert {str(blob.uuid) for blob in store.rows(Blob)} == left
    new = store.folder / "new"
    assert {Path(key).name[:36] for key in files(new)} == left
    assert not list((new / "t").rglob("*-*"))
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_what_is_bad_on_the_old_member_is_made_from_the_others(store: Store) -> None:
    for size in SIZES:
        store.put(size)
    held = files(store.member(1))
    for key in held:
        path = store.member(1) / key
        path.write_bytes(flip(held[key], 8 * (len(held[key]) - 20)))
    membership.replace(1, "file:members/new")
    finish(store)
    assert files(store.folder / "new") == held
    assert store.states() == ["in_sync"] * 4
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_the_old_member_dies_on_the_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is made from the others, and the new member takes the slot."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    for size in SIZES * 2:
        store.put(size)
    held = files(store.member(1))
    membership.replace(1, "file:members/new")
    for _ in range(3):
        tick(store)
    store.lose(1)
    store.runtime.check_members()
    membership.fail(1)
    late = store.put(300 * KIB)
    finish(store)
    found = files(store.folder / "new")
    assert {key: found[key] for key in held} == held
    assert any(str(late.uuid) in key for key in found)
    assert store.states() == ["in_sync"] * 4
    store.lose(3)
    store.check()


def test_it_can_be_called_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By cancelling the job or by retiring the new member; the old one stays."""
    monkeypatch.setattr(runner, "STEP_SECONDS", 0.0)
    for _ in range(3):
        store.put(1000)
    for number in range(2):
        uuid = membership.replace(1, f"file:members/new{number}")
        with pytest.raises(Refused, match="replaced already"):
            membership.replace(1, "file:members/other")
        tick(store)
        (job,) = active(store)
        store.put(1000)
        if number:
            membership.retire(uuid)
        else:
            table.cancel(job.id)
        finish(store)
        assert jobs(store, JobKind.REPLACE)[-1].state == JobState.CANCELLED
        row = next(row for row in store.rows(MemberRow) if row.uuid == uuid)
        assert (row.state, row.slot, row.target_slot) == ("retired", None, None)
        assert store.debts() == []
        assert store.states() == ["in_sync"] * 4
    store.lose(0)
    store.check()


@pytest.mark.sqlite
def test_a_tombstone_counts_only_where_it_lies(store: Store) -> None:
    """A member that came in during a purge is told of it before it counts."""
    blob = store.put(300 * KIB)
    store.lose(0)
    store.lose(3)
    store.runtime.check_members()
    store.let_go(blob.uuid)
    with transaction() as session:
        session.execute(update(Blob).values(due_at=utcnow()))
    tombstones.begin_due()
    store.bring_back(0)
    store.runtime.check_members()
    membership.replace(3, "file:members/new")
    owed = {debt.member_uuid for debt in store.debts()}
    members = {row.uuid for row in store.rows(MemberRow) if row.state != "retired"}
    assert owed == members
    finish(store)
    assert store.rows(Blob) == []
    assert store.debts() == []


@pytest.mark.sqlite
def test_what_is_committed_after_the_walk_is_owed(store: Store) -> None:
    """Between the end of the job and the swap only the debts know of it."""
    store.put(300 * KIB)
    uuid = membership.replace(1, "file:members/new")
    own = store.runtime
    own.check_members()
    while active(store):
        own.rests.clear()
        assert runner.run(own.array())
    blobs = [store.put(size) for size in SIZES]
    owed = {debt.blob for debt in store.debts() if debt.member_uuid == uuid}
    assert owed == {blob.uuid for blob in blobs}
    assert not any(blob.at_risk for blob in store.rows(Blob))
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert files(store.folder / "new") == files(store.member(1))
    store.lose(0)
    store.check()


@pytest.mark.sqlite
@pytest.mark.parametrize("kind", [JobKind.REPLACE, JobKind.REBUILD])
def test_a_worker_whose_map_is_older_than_the_job_waits(
    store: Store, kind: JobKind
) -> None:
    """It knows no place for the member yet, and that is no end of the job."""
    store.put(300 * KIB)
    seen = store.runtime.array()
    if kind == JobKind.REBUILD:
        store.lose(1)
        store.runtime.check_members()
    uuid = membership.replace(1, "file:members/new")
    assert runner.run(seen) == 0
    (job,) = active(store)
    assert job.kind == kind and "has not seen the member" in job.problem
    finish(store)
    assert jobs(store, kind)[-1].state == JobState.DONE
    rows = {row.uuid: (row.slot, row.state) for row in store.rows(MemberRow)}
    assert rows[uuid] == (1, "in_sync")
