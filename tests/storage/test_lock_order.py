"""Transactions that meet half-way wait for each other; the database breaks none off."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from raid.segments import Damage
from raid.superblock import StoredState
from storage import blobs, damage, debts, maps, membership, tombstones
from storage.blobref import manifest_of, reference
from storage.db import transaction, utcnow
from storage.jobs import filling, reshape
from storage.journal import delivery
from storage.models import Blob, JobKind, MemberRow
from support.jobs import finish, jobs
from support.store import KIB, Store


class Meanwhile:
    """Something that begins in another thread when this one comes to a place."""

    def __init__(self, store: Store, call: Callable[[], object]) -> None:
        self._store = store
        self._call = call
        self._thread: threading.Thread | None = None
        self.errors: list[Exception] = []

    def begin(self) -> None:
        """Begin, once, and give it time to come to its lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run)
            self._thread.start()
            self._thread.join(0.7)

    def at(self, patch: pytest.MonkeyPatch, where: object, name: str) -> "Meanwhile":
        """Begin before a function is called."""
        original = getattr(where, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.begin()
            return original(*args, **kwargs)

        patch.setattr(where, name, call)
        return self

    def _run(self) -> None:
        with self._store.app.app_context():
            try:
                self._call()
            except Exception as error:
                self.errors.append(error)

    def end(self) -> None:
        """Wait for its end; nobody may have been broken off."""
        assert self._thread is not None, "it never began"
        self._thread.join()
        assert self.errors == []


def _bad(blob: Blob) -> Damage:
    return Damage(0, blob.uuid, 0, 0, "its key", "It was cut.")


def test_a_job_ends_while_its_member_is_retired(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(300 * KIB)
    new = membership.replace(1, "file:members/new")
    meanwhile = Meanwhile(store, lambda: membership.retire(new))
    meanwhile.at(monkeypatch, filling, "looked_through")
    finish(store)
    meanwhile.end()
    (job,) = jobs(store, JobKind.REPLACE)
    assert job.state == "done"


def test_a_debt_is_paid_while_the_purge_of_its_blob_begins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = store.put(300 * KIB)
    damage.note([_bad(blob)])
    store.let_go(blob.uuid)
    with transaction() as session:
        session.execute(update(Blob).values(due_at=utcnow(), at_risk=True))
    array = store.runtime.array()
    meanwhile = Meanwhile(store, lambda: debts.pay(array))
    meanwhile.at(monkeypatch, tombstones, "_owe_tombstones")
    assert tombstones.begin_due() == 1
    meanwhile.end()
    assert len(store.debts()) == store.width


def test_damage_is_noted_while_its_blob_is_written_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = store.put(300 * KIB)
    array = store.runtime.array()
    manifest = manifest_of(store.runtime, array, reference(blob))
    meanwhile = Meanwhile(store, lambda: damage.note([_bad(blob)]))
    meanwhile.at(monkeypatch, blobs.Incoming, "commit")
    new = reshape.rewrite(blob, manifest)
    meanwhile.end()
    states = {row.uuid: row.state for row in store.rows(Blob)}
    assert states == {blob.uuid: "tombstoned", new: "live"}


def test_members_acknowledge_the_journal_while_they_become_stale(store: Store) -> None:
    """As they do when an upload was not stored on them."""
    incarnation = store.array_row().incarnation

    def outcome(member: UUID) -> Any:
        parcel = SimpleNamespace(member=member, held=0, incarnation=incarnation)
        return SimpleNamespace(parcel=parcel, last=7)

    members = {row.slot: row.uuid for row in store.rows(MemberRow)}
    outcomes = [outcome(members[1]), outcome(members[0])]
    meanwhile = Meanwhile(store, lambda: delivery._acknowledge(outcomes))
    with transaction() as session:
        locked = maps.lock(session)
        slots = locked.by_slot()
        locked.set_state(slots[0], StoredState.STALE)
        meanwhile.begin()
        locked.set_state(slots[1], StoredState.STALE)
    meanwhile.end()
    assert store.states()[:2] == ["stale", "stale"]
