"""What one file asks of the members: counted while it lives its whole life.

Twice, and both have to come to the same: over folders that say they are as far away as
buckets, where the verbs are counted, and over buckets on a real server, where the
requests are. A verb is one request (docs/members.md); a test of the buckets holds that.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import event

from benchmarks.catalogue import MEMBERS, person, settle, sweep_around, upload
from benchmarks.common import KIB, MIB
from benchmarks.servers import use_test_keys
from support import database
from support.between import Between, between
from support.buckets import moto

SIZES = {"inline": 1 * KIB, "combined": 300 * KIB, "segmented": 10 * MIB}
"""A file of each form; the last has two segments, the first of them of 9 MiB."""

ABOUT_FILES = ("o/", "t/")
"""Where objects of files lie. What is asked about superblocks and the journal costs the
same with no file at all, and does not count."""

VERBS = {
    "put": "PUT",
    "read": "GET",
    "info": "GET",
    "list": "LIST",
    "delete": "DELETE",
    "keeps": "LIST",
}


@dataclass
class Cost:
    """What one act asked of the members, and its transactions."""

    requests: Counter[str] = field(default_factory=Counter)
    transactions: int = 0

    def said(self) -> str:
        """Return the requests in words: 16 PUT, 4 DELETE."""
        parts = sorted(self.requests.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{number} {word}" for word, number in parts) or "-"


Costs = dict[str, dict[str, Cost]]
Take = Callable[[], Counter[str]]
"""Returns what was asked since the last call."""


def as_if_far(folder: Path) -> Costs:
    """Return, by form and act, what a file costs over four far folders in RAID-5."""
    from storage.members.local import LocalMember
    from storage.members.s3 import S3Member

    asked: list[str] = []

    def counted(verb: str) -> Callable[..., Any]:
        own = getattr(LocalMember, verb)

        def ask(self: Any, key: str, *values: Any, **options: Any) -> Any:
            if key.startswith(ABOUT_FILES):
                asked.append(VERBS[verb])
            return own(self, key, *values, **options)

        return ask

    def take() -> Counter[str]:
        taken, asked[:] = Counter(asked), []
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalMember, "run_units", S3Member.run_units)
        for verb in VERBS:
            patch.setattr(LocalMember, verb, counted(verb))
        return _over(folder, {}, take)


def over_buckets(folder: Path) -> Costs:
    """Return the same over four buckets of a real server."""
    use_test_keys()
    with moto() as server, between(server.endpoint) as way:
        urls = [
            f"s3://{server.bucket()}/m?endpoint={way.endpoint}" for _ in range(MEMBERS)
        ]
        settings = {"ARRAY_MEMBERS": " ".join(urls)}
        return _over(folder, settings, lambda: _asked(way))


def _asked(way: Between) -> Counter[str]:
    log, way.log[:] = list(way.log), []
    return Counter(
        one.operation.removesuffix(" object")
        for one in log
        if any(f"/{place}" in unquote(one.path) for place in ABOUT_FILES)
    )


def _over(folder: Path, settings: dict[str, str], take: Take) -> Costs:
    settings = {**settings, "PURGE_GRACE_SECONDS": "0"}
    app = database.application(folder, None, settings)
    try:
        with app.app_context(), pytest.MonkeyPatch.context() as patch:
            # On a busy machine all are late, and who is late is asked for twice.
            patch.setattr("raid.pace.LEAST_PATIENCE", 3600.0)
            user, top = person()
            # The first file proves what servers honour; a later one costs what all do.
            entry, _ = upload(user, top, "first", 400 * KIB)
            _purge(user, entry)
            return {
                form: _life(take, user, top, form, size) for form, size in SIZES.items()
            }
    finally:
        database.close(app)


@contextmanager
def _counted(take: Take) -> Iterator[Cost]:
    """Count what goes on inside of the block, and the transactions of this thread."""
    from storage.db import db

    cost, own = Cost(), threading.get_ident()

    def commit(_: Any) -> None:
        cost.transactions += threading.get_ident() == own

    take()
    event.listen(db.engine, "commit", commit)
    try:
        yield cost
    finally:
        event.remove(db.engine, "commit", commit)
    cost.requests = take()


def _life(take: Take, user: int, top: str, form: str, size: int) -> dict[str, Cost]:
    from storage import blobs
    from storage.db import db
    from storage.models import Blob

    found: dict[str, Cost] = {}
    with _counted(take) as found["upload"]:
        entry, blob = upload(user, top, form, size)
    settle()
    with _counted(take) as found["download"]:
        _forget_manifests()
        row = db.session.get_one(Blob, blob)
        got = sum(map(len, blobs.open_blob(row).chunks()))
        assert got == size
    with _counted(take) as found["scrub"]:
        _forget_manifests()
        _job("scrub", {"mode": "check"})
    with _counted(take) as found["sweep"]:
        _forget_manifests()
        sweep_around(blob)
    with _counted(take) as found["purge"]:
        _purge(user, entry)
    assert db.session.get(Blob, blob) is None
    return found


def _purge(user: int, entry: str) -> None:
    from files import trash
    from storage import purge
    from storage.runtime import runtime

    trash.trash(user, [entry])
    trash.purge(user, [entry])
    assert purge.run(runtime().array()) == 1


def _job(kind: str, params: dict[str, Any]) -> None:
    from storage.db import db, transaction
    from storage.jobs import runner, table
    from storage.models import Job, JobKind, JobState
    from storage.runtime import runtime

    with transaction() as session:
        number = table.add(session, JobKind(kind), params=params)
    while True:
        runner.run_step(runtime().array(), number)
        db.session.expire_all()
        state = db.session.get_one(Job, number).state
        if state not in (JobState.QUEUED, JobState.RUNNING):
            assert state == JobState.DONE, state
            return


def _forget_manifests() -> None:
    from storage.manifests import ManifestCache
    from storage.runtime import runtime

    runtime().manifests = ManifestCache()
