"""I-6: whatever a killed upload leaves is gone after recovery and sweep."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from files import quota
from files.models import Entry
from storage import blobs, debts, uploads, watch
from storage.db import transaction, utcnow
from storage.jobs import runner, table
from storage.members.calls import SystemCalls
from storage.members.local import LocalMember
from storage.models import Blob, JobKind, Orphan, Upload, UploadSegment
from support.drive import Drive
from support.store import KIB, Store

STEPS = (
    (uploads.Log, "begin"),
    (uploads.Log, "next_attempt"),
    (uploads.Log, "segment"),
    (uploads.Log, "sealing"),
    (uploads.Log, "close"),
    (LocalMember, "put"),
    (debts, "lacking"),
    (quota, "charge"),
    (blobs.Incoming, "commit"),
)


class Killed(BaseException):
    """The process ends here."""


class Trap:
    """Die after the n-th of all the steps of an upload; nothing is undone then."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.left, self.fired = at, ""
        for owner, name in STEPS:
            patch.setattr(owner, name, self._wrapped(getattr(owner, name), name))
        patch.setattr(blobs, "_undo", lambda *_: None)

    def _wrapped(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            result = real(*arguments, **named)
            self.left -= 1
            if self.left == 0:
                self.fired = name
                raise Killed
            return result

        return step


@pytest.mark.sqlite
@pytest.mark.parametrize("size", [1000, 800 * KIB], ids=["one write", "segments"])
def test_nothing_is_left_of_an_upload_killed_at_any_step(
    app: Flask, drive: Drive, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """No entry, row, object, temporary file or byte of quota; the others stay."""
    monkeypatch.setattr("raid.halves.HALF", 512 * 1024)
    monkeypatch.setattr(SystemCalls, "fsync", lambda self, fd: None)
    monkeypatch.setattr(watch, "start", lambda own: None)
    drive.file("kept", b"K" * 1000)
    steps = set()
    for at in range(1, 60):
        with pytest.MonkeyPatch.context() as patch:
            trap = Trap(patch, at)
            try:
                drive.put(f"killed {at}", os.urandom(size))
            except Killed:
                steps.add(trap.fired)
        if not trap.fired:
            break
    assert {"begin", "sealing", "put", "close", "charge", "commit"} <= steps
    assert ("segment" in steps) is (size > 1000)
    names = drive.names()
    with app.app_context():
        store = Store(app)
        store.age_uploads()
        store.restart()
        store.settle()
        _sweep_twice(store)
        assert store.rows(Upload) == store.rows(UploadSegment) == []
        assert store.rows(Orphan) == store.debts() == []
        assert {blob.uuid for blob in store.rows(Blob)} == {
            entry.blob_id for entry in store.rows(Entry) if entry.blob_id
        }
        assert store.leftovers() == set()
        tmp = [os.listdir(store.member(slot) / "tmp") for slot in range(4)]
        assert tmp == [[]] * 4
    assert drive.names() == names
    assert "kept" in names


def _sweep_twice(store: Store) -> None:
    for _ in range(2):
        number = table.request(JobKind.SWEEP, params={"delete": True})
        while runner.run_step(store.runtime.array(), number):
            pass
        with transaction() as session:
            earlier = utcnow() - timedelta(days=2)
            session.execute(update(Orphan).values(first_seen_at=earlier))
