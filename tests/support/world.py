"""A person's files over an array, a model of them, and everything that must hold.

A world is a data folder with SQLite and local members that can be put back to how it
was. Operations go through the services that the pages use. `check` and `recover` hold
what is there against the model: I-1 to I-7 of the design.
"""

import hashlib
import random
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from auth.models import User
from files import services, trash, uploads
from files.models import FILE, Entry
from raid import repair
from raid.errors import DamagedObject, ObjectMissing
from raid.geometry import Level
from raid.keys import manifest_key
from raid.manifest import Form, Manifest
from raid.segments import Damage
from raid.shards import object_key
from storage import damage, watch
from storage import db as database_module
from storage import uploads as storage_uploads
from storage.blobref import manifest_of, reference
from storage.db import db, release
from storage.members.calls import SystemCalls
from storage.models import Blob, BlobState, Debt, DebtKind, Upload, UploadSegment
from support import database
from support.arrays import Body
from support.bodies import body
from support.drive import check_books
from support.people import PASSWORD
from support.store import Store

LAYOUTS = (
    (Level.RAID1, 2),
    (Level.RAID1, 3),
    (Level.RAID5, 3),
    (Level.RAID5, 5),
    (Level.RAID6, 5),
    (Level.RAID10, 4),
)
KIB = 1024
TOP, BOX, TRASH = "top", "box", "trash"


@dataclass(frozen=True)
class File:
    """Where a file is, and which bytes it has."""

    place: str
    seed: int
    size: int


State = dict[str, File]
"""Files by their names, of which there are no two alike in any place."""


@dataclass(frozen=True)
class Op:
    """Something that a person, the worker or a disk does."""

    kind: str
    name: str = ""
    other: str = ""
    seed: int = 0
    size: int = 0


def applied(state: State, op: Op) -> State:
    """Return the state after an operation."""
    after = dict(state)
    if op.kind == "upload":
        after[op.name] = File(TOP, op.seed, op.size)
    elif op.kind == "replace":
        after[op.name] = replace(after[op.name], seed=op.seed, size=op.size)
    elif op.kind == "rename":
        after[op.other] = after.pop(op.name)
    elif op.kind == "move":
        to = BOX if after[op.name].place == TOP else TOP
        after[op.name] = replace(after[op.name], place=to)
    elif op.kind == "trash":
        after[op.name] = replace(after[op.name], place=TRASH)
    elif op.kind == "purge":
        del after[op.name]
    return after


@lru_cache(4096)
def _digest(seed: int, size: int) -> str:
    return hashlib.blake2b(body(size, seed)).hexdigest()


def shown(state: State) -> dict[str, tuple[str, str]]:
    """Return what a look at the files must find: places and digests by name."""
    return {n: (f.place, _digest(f.seed, f.size)) for n, f in state.items()}


def packed(op: Op | None) -> dict[str, object] | None:
    """Return an operation as a message carries it."""
    return None if op is None else asdict(op)


class World:
    """See the module's text; made with `world`, which also makes it quick."""

    def __init__(self, folder: Path, level: Level, width: int) -> None:
        self.level, self.width = level, width
        self.live, self.template = folder / "live", folder / "template"
        self.live.mkdir()
        settings = {
            "ARRAY_LEVEL": level.value,
            "ARRAY_MEMBERS": " ".join(f"file:members/{n}" for n in range(width)),
            "PURGE_GRACE_SECONDS": "0",
            "PACE": "100",
        }
        self.app: Flask = database.application(self.live, None, settings)
        with self.app.app_context():
            from auth.services import create_user

            create_user("alice", PASSWORD, admin=False)
            self.user = db.session.scalars(select(User.id)).one()
            self.top = services.root(self.user).id
            self.box = services.create_folder(self.user, self.top, "box").id
        self.keep()
        self._warm_up()
        self.reset()

    # -- the folder

    def forget(self) -> None:
        """Let go of all that a process has open or knows."""
        database.close(self.app)
        self.app.extensions["holdfast_runtime"] = None

    def keep(self, template: Path | None = None) -> None:
        """Remember the present files, to put them back again and again."""
        self.forget()
        shutil.rmtree(template or self.template, ignore_errors=True)
        shutil.copytree(self.live, template or self.template)

    def reset(self, template: Path | None = None) -> None:
        """Put the files back to how they were when they were kept."""
        self.forget()
        shutil.rmtree(self.live)
        shutil.copytree(template or self.template, self.live)

    def _warm_up(self) -> None:
        """Do everything once, so that no child has to begin with it.

        The beat is about how long an operation takes on this machine now.
        """
        dice, state, begun = random.Random(1), State(), time.monotonic()
        with self.opened() as store:
            for kind in ("upload", "upload", "replace", "rename", "move", "trash"):
                state = self.do(store, state, choose(dice, state, kind))
            self.beat = (time.monotonic() - begun) / 6
            state = self.do(store, state, choose(dice, state, "heal"))
            state = self.do(store, state, choose(dice, state, "purge"))
            self.recover(store, [state])

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Give the storage as a process that has just started sees it."""
        self.forget()
        with self.app.app_context():
            yield Store(self.app)

    # -- doing

    def do(self, store: Store, state: State, op: Op) -> State:
        """Do an operation; what is returned is what the services acknowledged."""
        getattr(self, f"_{op.kind}")(store, op)
        return applied(state, op)

    def _id(self, name: str) -> str:
        query = select(Entry.id).where(Entry.owner_id == self.user, Entry.name == name)
        found = db.session.scalars(query).one()
        release()
        return found

    def _upload(self, store: Store, op: Op, folder: str = "", taken: str = "") -> None:
        data = body(op.size, op.seed)
        offer = uploads.Offer(
            op.name,
            size=len(data) if op.seed % 2 else None,
            sha256=hashlib.sha256(data).digest() if op.seed % 3 == 0 else None,
            taken=uploads.Taken(taken or "refuse"),
        )
        uploads.upload(self.user, folder or self.top, offer, Body(data))

    def _replace(self, store: Store, op: Op) -> None:
        query = select(Entry.parent_id).where(
            Entry.owner_id == self.user, Entry.name == op.name
        )
        folder = db.session.scalars(query).one()
        assert folder is not None
        self._upload(store, op, folder, "replace")

    def _rename(self, store: Store, op: Op) -> None:
        services.rename(self.user, self._id(op.name), op.other)

    def _move(self, store: Store, op: Op) -> None:
        folder = self.box if op.other == BOX else self.top
        services.move(self.user, [self._id(op.name)], folder)

    def _trash(self, store: Store, op: Op) -> None:
        trash.trash(self.user, [self._id(op.name)])

    def _purge(self, store: Store, op: Op) -> None:
        trash.purge(self.user, [self._id(op.name)])

    def _work(self, store: Store, op: Op) -> None:
        store.make_due()
        store.tick()

    def _away(self, store: Store, op: Op) -> None:
        if not list(store.folder.glob("*.away")):
            store.lose(op.seed % self.width)

    def _back(self, store: Store, op: Op) -> None:
        for path in store.folder.glob("*.away"):
            path.rename(path.with_suffix(""))

    def _heal(self, store: Store, op: Op) -> None:
        """Spoil an object of a file on one member, and let it be repaired.

        Who was away is paid first: the world, too, loses no more than a level survives.
        """
        self._back(store, op)
        self.settle(store)
        self._rot(store, op)
        self.scrub(store)
        store.settle()

    def _rot(self, store: Store, op: Op) -> None:
        dice = random.Random(op.seed)
        paths = sorted(store.member(dice.randrange(self.width)).glob("o/*/*"))
        if paths:
            path = dice.choice(paths)
            data = bytearray(path.read_bytes())
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            path.write_bytes(data)

    # -- looking

    def look(self, store: Store) -> dict[str, tuple[str, str]]:
        """Read every file, wherever it is."""
        query = select(Entry).where(Entry.owner_id == self.user, Entry.kind == FILE)
        entries = db.session.scalars(query).all()
        release()
        places = {self.top: TOP, self.box: BOX, None: TRASH}
        found = {}
        for entry in entries:
            assert entry.blob_id is not None
            data = store.get(entry.blob_id)
            assert len(data) == entry.size
            digest = hashlib.blake2b(data).hexdigest()
            found[entry.name] = places[entry.parent_id], digest
        assert len(found) == len(entries)
        return found

    def check(self, store: Store, allowed: Sequence[State]) -> State:
        """Return which of the states is there; one of them has to be, wholly."""
        found = self.look(store)
        for state in allowed:
            if shown(state) == found:
                check_books(self.app)
                return state
        raise AssertionError(f"found {_short(found)}, allowed {allowed}")

    def lacking(self, store: Store) -> list[Damage]:
        """Return every object that is bad or absent and not owed."""
        owed = {
            (debt.member_uuid, debt.blob, debt.segment, debt.role)
            for debt in store.rows(Debt)
            if debt.kind != DebtKind.TOMBSTONE
        }
        array = store.runtime.array()
        lacks = []
        for blob in store.rows(Blob):
            if blob.state != BlobState.LIVE:
                continue
            manifest = manifest_of(store.runtime, array, reference(blob))
            for slot, segment, role in expected(manifest, self.width):
                member = array.uuid_of(slot)
                if (member, blob.uuid, segment, role) in owed:
                    continue
                try:
                    if segment < 0:
                        repair.check_manifest(array, slot, manifest)
                    else:
                        repair.check_shard(array, slot, manifest, segment, role)
                except (DamagedObject, ObjectMissing) as error:
                    lacks.append(_damage(manifest, slot, segment, role, str(error)))
        return lacks

    def scrub(self, store: Store) -> list[Damage]:
        """Look at everything and owe what is bad; returns what was."""
        found = self.lacking(store)
        if found:
            damage.note(found)
        return found

    # -- after a start

    def recover(
        self, store: Store, allowed: Sequence[State], *, rotten: bool = False
    ) -> State:
        """Check at once, let the worker work, and check that nothing is left over."""
        self._back(store, Op("back"))
        state = self.check(store, allowed)
        lacks = self.scrub(store) if rotten else self.lacking(store)
        assert rotten or lacks == [], lacks
        self.settle(store)
        assert self.check(store, [state]) == state
        self._nothing_left_over(store, state)
        return state

    def settle(self, store: Store) -> None:
        """Let the worker do all there is to do, whatever it waits for."""
        for _ in range(60):
            store.make_due()
            store.end_leases()
            busy = store.tick()  # the last round finds nothing to change
            if not busy and not store.debts() and set(store.states()) == {"in_sync"}:
                return
        raise AssertionError(f"no rest: {store.states()} {store.debts()}")

    def _nothing_left_over(self, store: Store, state: State) -> None:
        assert store.rows(Upload) == store.rows(UploadSegment) == store.debts() == []
        assert self.lacking(store) == []
        assert [str(path) for path in store.folder.glob("*/tmp/*")] == []
        blobs = store.rows(Blob)
        assert {blob.state for blob in blobs} <= {BlobState.LIVE}
        assert len(blobs) == len(state)
        assert not any(blob.at_risk or blob.damaged for blob in blobs)
        assert self.strangers(store, blobs) == set()

    def strangers(self, store: Store, blobs: Iterable[Blob]) -> set[str]:
        """Return the objects and tombstones that no manifest accounts for."""
        array = store.runtime.array()
        known = {
            f"{slot}/{key_of(manifest, segment, role)}"
            for blob in blobs
            for manifest in [manifest_of(store.runtime, array, reference(blob))]
            for slot, segment, role in expected(manifest, self.width)
        }
        return store.objects() - known


def expected(manifest: Manifest, width: int) -> Iterator[tuple[int, int, int]]:
    """Yield slot, segment and role of each object of a blob; -1 is the manifest."""
    combined = manifest.form is Form.COMBINED
    for number, row in enumerate(manifest.segments):
        for role, slot in enumerate(row.slots):
            yield slot, number, role
    with_role = set(manifest.segments[0].slots) if combined else set()
    for slot in set(range(width)) - with_role:
        yield slot, -1, -1


def key_of(manifest: Manifest, segment: int, role: int) -> str:
    """Return the key of an object that `expected` names."""
    if segment < 0:
        return manifest_key(manifest.blob, manifest.attempt)
    return object_key(manifest, segment, role)


def _damage(
    manifest: Manifest, slot: int, segment: int, role: int, reason: str
) -> Damage:
    whole = (None, None) if segment < 0 else (segment, role)
    key = key_of(manifest, segment, role)
    return Damage(slot, manifest.blob, *whole, key, reason)


def _short(found: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {name: (place, digest[:12]) for name, (place, digest) in found.items()}


SIZES = (0, 300, 5_000, 70 * KIB, 200 * KIB, 700 * KIB, 1_400 * KIB)
WEIGHTS = (1, 4, 3, 4, 3, 2, 1)
KINDS = {
    "upload": 6,
    "replace": 4,
    "rename": 2,
    "move": 2,
    "trash": 3,
    "purge": 3,
    "work": 3,
    "heal": 1,
    "away": 1,
    "back": 2,
}
MOST_FILES = 9


def choose(dice: random.Random, state: State, kind: str = "", without: str = "") -> Op:
    """Return an operation that can be done in a state."""
    live = sorted(name for name, file in state.items() if file.place != TRASH)
    dead = sorted(set(state) - set(live))
    kinds = {k: n for k, n in KINDS.items() if k not in without.split()}
    kind = kind or dice.choices(list(kinds), list(kinds.values()))[0]
    if kind == "upload" and len(state) >= MOST_FILES:
        kind = "purge" if dead else "trash"
    if (kind in ("replace", "rename", "move", "trash") and not live) or (
        kind == "purge" and not dead
    ):
        kind = "upload"
    seed = dice.randrange(500)
    size = dice.choices(SIZES, WEIGHTS)[0]
    fresh = f"{dice.randrange(1 << 40):x}.bin"
    if kind == "upload":
        return Op(kind, fresh, seed=seed, size=size)
    if kind in ("work", "heal", "away", "back"):
        return Op(kind, seed=seed)
    name = dice.choice(dead if kind == "purge" else live)
    if kind == "move":
        return Op(kind, name, BOX if state[name].place == TOP else TOP)
    if kind == "replace":
        return Op(kind, name, seed=seed, size=size)
    return Op(kind, name, fresh)


@contextmanager
def world(folder: Path, level: Level, width: int) -> Iterator[World]:
    """Make a world without threads that look over our shoulder.

    A killed process leaves the page cache alone, so nothing waits for a disk here:
    `support.powerloss` is about what a disk forgets.
    """
    pragmas = tuple(
        pragma.replace("synchronous=FULL", "synchronous=OFF")
        for pragma in database_module._PRAGMAS
    )
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "start", lambda own: None)
        patch.setattr("raid.halves.HALF", 512 * KIB)
        patch.setattr(SystemCalls, "fsync", lambda self, fd: None)
        patch.setattr(database_module, "_PRAGMAS", pragmas)
        patch.setattr(storage_uploads, "ABANDONED_SECONDS", -1.0)
        made = World(folder, level, width)
        yield made
        made.forget()
        shutil.rmtree(folder, ignore_errors=True)
