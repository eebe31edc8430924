"""Reshape: every blob gets the shape that the array has now, and nobody notices."""

from collections.abc import Callable

import pytest
from sqlalchemy import update

from storage.db import transaction
from storage.jobs import table
from storage.models import ArrayRow, Blob, BlobState, Job, JobKind, JobState
from support.store import MIB, Store

Make = Callable[..., Store]


def convert(store: Store, level: str) -> None:
    with transaction() as session:
        session.execute(update(ArrayRow).values(level=level, event=ArrayRow.event + 1))
        table.add(session, JobKind.RESHAPE)
    store.runtime.forget_map()


def job(store: Store) -> Job:
    return next(row for row in store.rows(Job) if row.kind == JobKind.RESHAPE)


def live(store: Store) -> list[Blob]:
    return [blob for blob in store.rows(Blob) if blob.state == BlobState.LIVE]


def run(store: Store) -> None:
    table.set_pace(100)
    store.settle()


@pytest.mark.sqlite
def test_it_writes_everything_in_the_new_shape(make_store: Make) -> None:
    store = make_store(4, ARRAY_LEVEL="raid1")
    for size in (0, 10, 100_000, 3 * MIB):
        store.put(size)
    convert(store, "raid6")
    run(store)
    found = job(store)
    assert found.state == JobState.DONE, found.problem
    assert found.counts["rewritten"] == 2
    assert {b.redundancy for b in live(store) if b.slots} == {2}
    assert sorted(b.size for b in live(store)) == [0, 10, 100_000, 3 * MIB]
