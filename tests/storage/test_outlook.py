"""What if this dies: the counts, held against reading every file without the member."""

import json
import random
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from itertools import combinations
from uuid import UUID

import pytest
from sqlalchemy import update

from raid.errors import RaidError
from raid.manifest import Manifest
from raid.reader import read
from raid.superblock import StoredState
from storage import outlook, reshaping
from storage.blobref import manifest_of, reference
from storage.db import transaction
from storage.jobs.filling import Cursor
from storage.models import (
    ArrayRow,
    Blob,
    BlobState,
    Debt,
    DebtKind,
    Job,
    JobKind,
    JobState,
    MemberRow,
)
from storage.outlook import Group, Outlook
from support.jobs import finish
from support.soak import times
from support.store import KIB, Store

LAYOUTS = (
    *(("raid5", 3), ("raid5", 4), ("raid1", 2), ("raid1", 3)),
    *(("raid10", 4), ("raid10", 5), ("raid10", 6)),
)
SIZES = (0, 900, 70 * KIB, 300 * KIB, 1100 * KIB, 2300 * KIB)


def ahead(store: Store) -> Outlook:
    """Count anew, after a look at the members."""
    store.runtime.check_members()
    store.runtime.forget_map()
    seen = store.runtime.snapshot()
    assert seen is not None
    return outlook.count(seen)


def live(store: Store) -> list[Blob]:
    return [blob for blob in store.rows(Blob) if blob.state == BlobState.LIVE]


def can_be_read(store: Store, blob: Blob, gone: Collection[int]) -> bool:
    """Read every byte without some members: the truth that is counted."""
    array = store.runtime.array().without(gone)
    try:
        for _ in read(array, reference(blob), 0, blob.size, on_damage=lambda _: None):
            pass
    except RaidError:
        return False
    return True


def manifest(store: Store, blob: Blob) -> Manifest:
    return manifest_of(store.runtime, store.runtime.array(), reference(blob))


def left(store: Store, found: Manifest, gone: Collection[int]) -> int:
    """Return by hand how many more members may go: from manifest and debts alone."""
    slots = {row.uuid: row.slot for row in store.rows(MemberRow)}
    owed = [debt for debt in store.debts() if debt.blob == found.blob]
    if not found.segments:
        lacking = {slots[d.member_uuid] for d in owed if d.kind == DebtKind.MANIFEST}
        return store.width - len(lacking | set(gone)) - 1
    shards = {slots[d.member_uuid] for d in owed if d.kind == DebtKind.SHARD}
    least = min(row.shape.m for row in found.segments)
    missing = shards | set(gone)
    return least - max(len({*row.slots} & missing) for row in found.segments)


def live_through(store: Store, dice: random.Random) -> list[Manifest]:
    """Store files while members come and go, so that they lie in every way."""
    away: list[int] = []
    stored = []
    for _ in range(dice.randint(4, 7)):
        event = dice.random()
        if event < 0.35 and len(away) < store.width - 1:
            slot = dice.choice([s for s in range(store.width) if s not in away])
            store.lose(slot)
            away.append(slot)
        elif event < 0.6 and away:
            store.bring_back(away.pop(dice.randrange(len(away))))
        elif event < 0.7:
            store.settle()
        store.runtime.check_members()
        try:
            stored.append(manifest(store, store.put(dice.choice(SIZES))))
        except RaidError:
            continue  # the array was failed: nothing is stored
    return stored


@pytest.mark.sqlite
@pytest.mark.parametrize("life", range(times(4)))
def test_the_counts_are_what_reading_without_the_member_finds(
    make_store: Callable[..., Store], life: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    level, width = dice.choice(LAYOUTS)
    store = make_store(width, ARRAY_LEVEL=level)
    manifests = live_through(store, dice)
    found, blobs = ahead(store), live(store)
    seen = store.runtime.snapshot()
    assert seen is not None and found.unknown == 0
    for slot in range(width):
        gone = {*seen.away, slot}
        fate = found.fate(slot)
        lost = sum(not can_be_read(store, blob, gone) for blob in blobs)
        spare = [left(store, one, gone) for one in manifests]
        promised = seen.map.shape.m
        assert fate.lost == sum(one < 0 for one in spare)
        assert fate.lost >= lost, "a file is lost that was promised to live"
        assert fate.degraded == sum(0 <= one < promised for one in spare)
        assert fate.untouched == sum(one >= promised for one in spare)
        if not store.debts():
            assert fate.lost == lost
    assert found.unreadable >= sum(not can_be_read(store, b, seen.away) for b in blobs)


def test_a_clean_array_loses_nothing_to_one_death(store: Store) -> None:
    for size in SIZES:
        store.put(size)
    found = ahead(store)
    for slot in range(4):
        fate = found.fate(slot)
        assert (fate.lost, fate.degraded, fate.untouched) == (0, 4, 2)
        share = sum(blob.share for blob in live(store))
        assert fate.moved == share > 1000 * KIB
    assert (found.unreadable, found.worst, found.below_promise) == (0, 0, 0)


def test_a_narrow_file_does_not_feel_the_death_of_a_member_it_is_not_on(
    store: Store,
) -> None:
    store.lose(1)
    store.put(300 * KIB)
    store.bring_back(1)
    store.settle()
    found = ahead(store)
    assert (found.fate(1).untouched, found.fate(1).moved) == (1, 0)
    assert (found.fate(0).degraded, found.fate(0).untouched) == (1, 0)


def test_an_absent_member_makes_the_others_dear(store: Store) -> None:
    store.put(300 * KIB)
    store.put(1000)
    store.lose(2)
    found = ahead(store)
    assert found.gone == {2}
    assert (found.unreadable, found.worst) == (0, 1)
    assert found.fate(0).lost == 1
    assert found.fate(2).lost == 0, "it is away already, and all can be read"


def test_what_a_member_is_owed_counts_as_gone(store: Store) -> None:
    """A file whose only whole copy is on one member dies with it."""
    blob = store.put(300 * KIB)
    owe(store, blob.uuid, 3, DebtKind.SHARD)
    found = ahead(store)
    assert found.fate(0).lost == 1
    assert found.fate(3).lost == 0
    assert found.below_promise == 1
    owe(store, blob.uuid, 3, DebtKind.MANIFEST)
    assert ahead(store).fate(0) == found.fate(0), "a manifest is on the others"


def owe(store: Store, blob: UUID, slot: int, kind: DebtKind) -> None:
    member = next(row.uuid for row in store.rows(MemberRow) if row.slot == slot)
    place = {"segment": 0, "role": 0} if kind == DebtKind.SHARD else {}
    with transaction() as session:
        session.add(Debt(member_uuid=member, kind=kind, blob=blob, attempt=1, **place))


def test_a_member_that_is_being_rebuilt_holds_what_was_given_to_it(
    store: Store,
) -> None:
    """Before the place that the rebuild has reached, files are as safe as ever."""
    stored = [store.put(300 * KIB).uuid for _ in range(4)] + [store.put(900).uuid]
    member = next(row for row in store.rows(MemberRow) if row.slot == 1)
    set_state(store, member.uuid, StoredState.REBUILDING)
    assert ahead(store).rebuilding == frozenset(), "it has come back, it is not new"
    striped = sorted(stored[:4])
    for reached, lost in ((None, 4), (striped[0], 4), (striped[2], 2)):
        cursor = Cursor("2026-01-01", blob=reached.hex if reached else None)
        rebuild(store, member.uuid, json.dumps(asdict(cursor)))
        found = ahead(store)
        assert (found.gone, found.rebuilding) == (set(), {1})
        assert (found.fate(0).lost, found.fate(1).lost) == (lost, 0)
    rebuild(store, member.uuid, json.dumps(asdict(Cursor("2026-01-01", late=True))))
    assert ahead(store).fate(0).lost == 0
    rebuild(store, member.uuid, None)
    assert ahead(store).fate(0).lost == 4
    rebuild(store, member.uuid, None, JobState.DONE)
    assert ahead(store).fate(0).lost == 0


def set_state(store: Store, member: UUID, state: StoredState) -> None:
    with transaction() as session:
        session.execute(
            update(MemberRow).where(MemberRow.uuid == member).values(state=state)
        )
        session.execute(update(ArrayRow).values(event=ArrayRow.event + 1))


def rebuild(
    store: Store, member: UUID, cursor: str | None, state: JobState = JobState.RUNNING
) -> None:
    """Let the newest rebuild of a member be this far."""
    with transaction() as session:
        kind = {"kind": JobKind.REBUILD, "member_uuid": member, "slot": 1}
        session.add(Job(**kind, cursor=cursor, state=state))


def test_what_is_unknown_is_taken_at_its_worst_and_said(store: Store) -> None:
    store.lose(1)
    blob = store.put(300 * KIB)
    store.bring_back(1)
    store.settle()
    with transaction() as session:
        row = session.get(Blob, blob.uuid)
        assert row is not None
        row.slots = row.redundancy = None
    found = ahead(store)
    assert (found.unknown, found.at_most) == (1, True)
    assert found.fate(1).degraded == 1, "it may lie there"
    assert found.fate(1).lost == 0


def lost(store: Store, gone: Collection[int]) -> int:
    """How many files can't be read without some members."""
    return sum(not can_be_read(store, blob, gone) for blob in live(store))


@pytest.mark.sqlite
def test_the_worst_death_is_looked_for_among_the_slots_that_there_are(
    make_store: Callable[..., Store],
) -> None:
    """Slots keep their numbers when one of them is given up."""
    store = make_store(5, ARRAY_LEVEL="raid10")
    reshaping.narrow(0)
    finish(store)
    for _ in range(6):
        store.put(300 * KIB)
    found = ahead(store)
    assert found.slots == {1, 2, 3, 4}
    for gone in found.slots:
        others = found.slots - {gone}
        worst = max(lost(store, {gone, other}) for other in others)
        assert replace(found, gone=frozenset({gone})).worst == worst


@pytest.mark.sqlite
def test_a_member_that_leaves_is_not_counted_on(
    make_store: Callable[..., Store],
) -> None:
    """It is given no new files; of small ones the rows don't tell which are older."""
    store = make_store(3, ARRAY_LEVEL="raid1")
    reshaping.narrow(2)
    store.put(900)
    store.lose(0)
    found = ahead(store)
    assert found.fate(1).lost == lost(store, {0, 1}) == 1
    assert found.at_most


@pytest.mark.sqlite
def test_a_count_is_kept_for_a_while_and_dropped_when_somebody_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = store.runtime
    own.check_members()
    counted: list[object] = []
    real = outlook.count
    monkeypatch.setattr(
        outlook, "count", lambda seen: counted.append(seen) or real(seen)
    )
    for _ in range(3):
        outlook.current(own, own.snapshot())  # type: ignore[arg-type]
    assert len(counted) == 1
    store.lose(0)
    own.check_members()
    found = outlook.current(own, own.snapshot())  # type: ignore[arg-type]
    assert (len(counted), found.gone) == (2, {0})
    outlook.forget(own)
    outlook.current(own, own.snapshot())  # type: ignore[arg-type]
    assert len(counted) == 3


@pytest.mark.sqlite
def test_arithmetic_over_every_loss_of_two() -> None:
    """Six members, two redundant: striped, copied, narrow and owed files."""
    everyone = frozenset(range(6))
    groups = (
        Group(everyone, 2, frozenset(), 10, share=100),
        Group(None, 0, frozenset(), 5),
        Group(frozenset({0, 1, 2}), 2, frozenset({0}), 1, share=7),
    )
    for gone in combinations(range(6), 2):
        found = Outlook(groups, everyone, 2, frozenset(gone))
        for slot in everyone:
            now = {*gone, slot}
            fate = found.fate(slot)
            copied = len({0, 1, 2} & (now | {0}))
            assert fate.lost == (10 if len(now) > 2 else 0) + (copied > 2)
            assert fate.lost + fate.degraded + fate.untouched == 16
            if slot in (0, 1, 2) and copied <= 2 and len(now) <= 2:
                assert fate.moved == 107


@pytest.mark.sqlite
def test_of_pairs_over_many_slots_a_slot_holds_a_part() -> None:
    pairs = Group(frozenset(range(4)), 1, frozenset(), 3, share=1000)
    one = Group(frozenset({0, 1}), 1, frozenset(), 1, share=50)
    found = Outlook((pairs, one), frozenset(range(4)), 1, frozenset(), in_pairs=True)
    assert (found.fate(0).moved, found.fate(2).moved) == (550, 500)
    assert found.at_most
