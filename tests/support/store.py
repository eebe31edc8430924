"""An application's storage for tests: put, read, lose a member, do a worker's round."""

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Flask
from sqlalchemy import select, update

from raid.superblock import StoredState
from storage import blobs, queries
from storage.db import db, release, transaction, utcnow
from storage.models import ArrayRow, Blob, Debt, Job, MemberRow, Upload
from storage.runtime import Runtime, runtime
from storage.worker import Worker
from support.arrays import Body

KIB, MIB = 1024, 1024 * 1024


class Store:
    """What tests do with the storage of an application whose context is pushed."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.folder: Path = app.config["HOLDFAST"].data_dir / "members"
        self.worker = Worker()
        self.contents: dict[UUID, bytes] = {}

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process."""
        return runtime()

    # -- bytes

    def put(self, data: bytes | int, **said: Any) -> Blob:
        """Store bytes (or so many random ones) as a blob that is visible."""
        if isinstance(data, int):
            data = os.urandom(data)
        with (
            blobs.receive(wanted(data, **said), Body(data), lambda _: None) as incoming,
            transaction() as session,
        ):
            blob = incoming.commit(session)
        self.contents[blob.uuid] = data
        return blob

    def get(self, uuid: UUID, start: int = 0, stop: int | None = None) -> bytes:
        """Read a blob as a download does."""
        blob = db.session.get(Blob, uuid, populate_existing=True)
        release()
        assert blob is not None
        return b"".join(blobs.open_blob(blob).chunks(start, stop))

    def check(self) -> None:
        """Read back all that was stored and not let go of."""
        for uuid, data in self.contents.items():
            assert self.get(uuid) == data

    def let_go(self, uuid: UUID) -> None:
        """Release a blob: no file names it any more."""
        with transaction() as session:
            blobs.release(session, [uuid])
        self.contents.pop(uuid, None)

    # -- members

    def member(self, slot: int) -> Path:
        """The folder of a member."""
        return self.folder / str(slot)

    def lose(self, slot: int) -> None:
        """Move a member away."""
        self.member(slot).rename(self.folder / f"{slot}.away")

    def bring_back(self, slot: int) -> None:
        """Put it back."""
        (self.folder / f"{slot}.away").rename(self.member(slot))

    def objects(self, slot: int | None = None) -> set[str]:
        """Every object and tombstone, as `0/o/aa/...`."""
        slots = range(self.width) if slot is None else [slot]
        found = set()
        for one in slots:
            for area in ("o", "t"):
                top = self.member(one) / area
                found |= {
                    f"{one}/{path.relative_to(self.member(one))}"
                    for path in top.rglob("*")
                    if path.is_file()
                }
        return found

    def paths(self, slot: int, uuid: UUID) -> list[Path]:
        """The files of a blob on a member."""
        return sorted((self.member(slot) / "o").rglob(f"{uuid}.*"))

    @property
    def width(self) -> int:
        """How many members there are."""
        return len(self.app.config["HOLDFAST"].array_members)

    # -- rows

    def rows(self, model: Any) -> list[Any]:
        """All rows of a table, as they are now."""
        found = db.session.scalars(
            select(model), execution_options={"populate_existing": True}
        ).all()
        release()
        return list(found)

    def states(self) -> list[str]:
        """The stored states in the order of the slots."""
        rows = [row for row in self.rows(MemberRow) if row.slot is not None]
        rows.sort(key=lambda row: row.slot)
        return [StoredState(row.state).value for row in rows]

    def debts(self) -> list[Debt]:
        """What is owed."""
        return self.rows(Debt)

    def array_row(self) -> ArrayRow:
        """The row of the array."""
        return self.rows(ArrayRow)[0]

    def status(self) -> queries.ArrayStatus:
        """The state after a fresh look at the members."""
        self.runtime.check_members()
        self.runtime.forget_map()
        found = queries.status()
        release()
        assert found is not None
        return found

    def banner(self) -> str:
        """What everybody is told."""
        self.runtime.check_members()
        self.runtime.forget_map()
        found = queries.banner()
        release()
        return found.sentence if found else ""

    # -- time

    def tick(self) -> int:
        """A round of a worker that did nothing before."""
        self.worker = Worker()
        return self.worker.tick()

    def settle(self) -> None:
        """Let a worker do all that can be done now."""
        self.worker = Worker()
        self.worker.run_once()

    def make_due(self) -> None:
        """Let the waits of debts end."""
        with transaction() as session:
            session.execute(update(Debt).values(due_at=utcnow()))

    def end_leases(self) -> None:
        """Let the leases end of jobs whose worker is gone."""
        with transaction() as session:
            session.execute(update(Job).values(lease_until=None))

    def age_uploads(self) -> None:
        """Let a minute pass for uploads whose process is gone."""
        old = utcnow() - timedelta(seconds=60)
        self.runtime.uploads.clear()
        with transaction() as session:
            session.execute(update(Upload).values(touched_at=old))

    def restart(self) -> None:
        """Forget everything that a process knows, as after a start."""
        self.runtime.close()
        self.app.extensions["holdfast_runtime"] = None

    def leftovers(self) -> set[str]:
        """What lies on the members and belongs to no blob of the database."""
        known = {str(blob.uuid) for blob in self.rows(Blob)}
        return {
            name
            for name in self.objects()
            if Path(name).name.partition(".")[0] not in known
        }


def wanted(data: bytes, **said: Any) -> blobs.Wanted:
    """What a client says who tells the truth."""
    said = {"size": len(data), "sha256": None, **said}
    if said["sha256"] is True:
        said["sha256"] = hashlib.sha256(data).digest()
    return blobs.Wanted("a.txt", "/", "alice", "text/plain", 1, **said)
