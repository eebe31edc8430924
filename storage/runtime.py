"""What one process has in memory: the array, its members' health, buffers, threads.

It is made when it is first used, after the fork, and asks members only when it is told
to; `storage.watch` does that in a web process.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from uuid import UUID

from flask import Flask, current_app

from raid.array import Array, ArrayMap, Beside, Waiting
from raid.assemble import Assembled, assemble
from raid.buffers import BufferPool
from raid.errors import MemberError, MemberMissing
from raid.figures import Figures
from raid.health import Health
from raid.member import Member, Space
from raid.segments import Damage
from raid.superblock import StoredState
from storage import maps
from storage.db import db
from storage.errors import NoArray
from storage.manifests import ManifestCache
from storage.members.urls import parse_member_url
from storage.snapshot import SeenBeside, Snapshot

REASSEMBLE_SECONDS = 15.0
MAP_SECONDS = 1.0
THREADS = 64
"""As many as 16 uploads to four members need; they are made when they are needed."""
_KEY = "holdfast_runtime"
_MOST_DAMAGE = 10_000
_LOG = logging.getLogger("holdfast.array")


@dataclass
class _Places:
    """The members as they were found, and by which url."""

    members: dict[int, Member] = field(default_factory=dict)
    urls: dict[int, str] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


class Runtime:
    """The array of this process; see the module's text."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.pid = os.getpid()
        self.settings = app.config["HOLDFAST"]
        self.health = Health(time.monotonic)
        self.manifests = ManifestCache()
        self.figures = Figures(time.monotonic) if self.settings.metrics_bind else None
        self.uploads: set[UUID] = set()
        self.downloads: set[object] = set()
        self.spaces: dict[int, Space] = {}
        self.spaces_beside: dict[UUID, Space] = {}
        # Members that were found older than they were, until the worker writes it down.
        self.rolled_back: set[UUID] = set()
        # Since when, as this process saw it, a member can't be used.
        self.unusable: dict[UUID, float] = {}
        # When one of them was there all the same, and what it had been given by then.
        self.there_at: dict[UUID, float] = {}
        self.given: dict[UUID, tuple[int, int]] = {}
        # Of whom the events say that they are away; None before those were asked.
        self.told_away: set[UUID] | None = None
        # The jobs whose lease this process holds, and when their next step may begin.
        self.leases: dict[int, str] = {}
        self.rests: dict[int, float] = {}
        self.pace: int | None = None  # by which they rest
        self._lock = threading.RLock()
        self._array: Array | None = None
        self._places = _Places()
        self._version: maps.Version | None = None
        self._known_at = 0.0
        self._damage: OrderedDict[Damage, None] = OrderedDict()
        self.stopped = threading.Event()
        self.threads: list[threading.Thread] = []
        self._assembled_at = 0.0
        self._newer = False

    @cached_property
    def pool(self) -> BufferPool:
        """Return the buffers of all transfers of this process."""
        return BufferPool(self.settings.memory_bytes)

    @cached_property
    def executor(self) -> ThreadPoolExecutor:
        """Return the threads that talk to the members."""
        return ThreadPoolExecutor(THREADS, thread_name_prefix="member")

    # -- the array --------------------------------------------------------

    def array(self) -> Array:
        """Return the array under the map that the database has now.

        The map may be a second old: what was done under an old one is put right by
        the transaction that makes a blob visible.
        """
        with self._lock:
            if self._array is None or self._map_is_old():
                self._refresh()
            assert self._array is not None
            return self._array

    def forget_map(self) -> None:
        """Read the map again at the next use: this process changed it."""
        self._known_at = 0.0

    def _map_is_old(self) -> bool:
        return time.monotonic() - self._known_at > MAP_SECONDS

    def _refresh(self) -> None:
        now = time.monotonic()
        with db.engine.connect() as connection:
            seen = maps.version(connection)
            if seen == self._version and self._array is not None:
                self._known_at = now
                return
            found = maps.load(connection)
        self._forget_taken_back(found)
        if self._array is None or maps.identities(found) != maps.identities(
            self._array.map
        ):
            self._assemble(found)
        assert self._array is not None
        self._array = self._array.with_map(self._as_allowed(found))
        self._version, self._known_at = seen, now

    def _assemble(self, found: ArrayMap) -> None:
        """Look at every place and give each slot the member that belongs there."""
        places = self._open_places(found)
        self._install(found, places, assemble(found, places))

    def _install(
        self, found: ArrayMap, places: dict[str, Member], assembled: Assembled
    ) -> None:
        self._assembled_at = time.monotonic()
        self._forget_health(found)
        members = dict(assembled.members)
        self._places = _Places(
            members,
            {slot: _url_of(member, places) for slot, member in members.items()},
            dict(assembled.problems),
        )
        if assembled.ahead:
            self._refuse_writes(found)
        self._newer = bool(assembled.newer)
        self.rolled_back |= assembled.rolled_back
        self._note_problems(found, assembled)
        self._array = Array(
            self._as_allowed(found),
            members,
            self.health,
            self.executor,
            self.settings.degraded_write,
            {
                uuid: Beside(member, self._health_beside(uuid))
                for uuid, member in assembled.beside.items()
            },
            self.figures,
        )

    def _forget_health(self, found: ArrayMap) -> None:
        """Start anew with the slots in which other members sit now.

        Transfers that began before go on with the old members, and with their health.
        """
        before = self._array.map.slots if self._array is not None else ()
        sat = {entry.slot: entry.member for entry in before}
        taken = {e.slot for e in found.slots if sat.get(e.slot, e.member) != e.member}
        if taken:
            self.health = self.health.without(taken)

    def _forget_taken_back(self, found: ArrayMap) -> None:
        """Start anew with a member that somebody, somewhere, took back."""
        before = self._array.map.slots if self._array is not None else ()
        failed = {one.slot for one in before if one.state == StoredState.FAULTY}
        for entry in found.slots:
            if entry.slot in failed and entry.state != StoredState.FAULTY:
                self.health.forget(entry.slot)

    def _health_beside(self, uuid: UUID) -> Health:
        known = self._array.beside.get(uuid) if self._array is not None else None
        return known.health if known else Health(time.monotonic)

    def _as_allowed(self, found: ArrayMap) -> ArrayMap:
        """Return the map, read-only when a newer release wrote to the members."""
        return replace(found, readonly=True) if self._newer else found

    def _open_places(self, found: ArrayMap) -> dict[str, Member]:
        waiting = [member.url for member in found.waiting if member.used]
        urls = list(dict.fromkeys([*(e.url for e in found.slots), *waiting]))
        for url in self.settings.array_members:
            if url not in urls:
                urls.append(url)
        return {url: parse_member_url(url, self.settings.data_dir) for url in urls}

    def _note_problems(self, found: ArrayMap, assembled: Assembled) -> None:
        for note in assembled.notes:
            _LOG.warning(note)
        for slot, sentence in assembled.problems.items():
            entry = found.entry(slot)
            label = entry.url if entry else f"slot {slot}"
            self.health.note(slot, MemberMissing(label, sentence))
            _LOG.warning(sentence, extra={"fields": {"slot": slot}})

    def _refuse_writes(self, found: ArrayMap) -> None:
        """Set the array read-only when members know more than the database.

        A change that was committed meanwhile explains it; so the row is read again.
        """
        with db.engine.connect() as connection:
            now = maps.version(connection)
        if now == (found.incarnation, found.event, found.readonly):
            maps.note_rollback()

    def _look_elsewhere(self, array: Array, *, at_once: bool = False) -> None:
        """Look at all places again when a member is missing: it may be elsewhere.

        One that has just returned is looked at, too: it may be older than it was.
        """
        waited = time.monotonic() - self._assembled_at
        due = array.away() and waited > REASSEMBLE_SECONDS
        if not (due or at_once):
            return
        with db.engine.connect() as connection:
            seen, found = maps.version(connection), maps.load(connection)
        # A sick disk may take long to answer, and every request needs the lock.
        places = self._open_places(found)
        assembled = assemble(found, places)
        with self._lock:
            self._forget_taken_back(found)
            self._install(found, places, assembled)
            self._version, self._known_at = seen, 0.0

    # -- looking at members -----------------------------------------------

    def check_members(self) -> None:
        """Ask every member whether it is there, and how much room it has."""
        array = self.array()
        returned = False
        for slot, member in array.members.items():
            missing = isinstance(array.health.error(slot), MemberMissing)
            try:
                array.check(slot)
                self.spaces[slot] = member.space()
                self._places.problems.pop(slot, None)
                returned = returned or missing
            except MemberError as error:
                if array.health.unreachable(slot):
                    self.spaces.pop(slot, None)
                    self._places.problems[slot] = str(error)
        self._check_beside(array)
        self._look_elsewhere(array, at_once=returned)

    def _check_beside(self, array: Array) -> None:
        for uuid in array.beside:
            seat = array.seat(uuid)
            if seat is None:
                continue
            seated, slot = seat
            try:
                seated.check(slot)
                self.spaces_beside[uuid] = seated.members[slot].space()
            except MemberError:
                self.spaces_beside.pop(uuid, None)

    def last_array(self) -> Array | None:
        """Return the array as it was used last; waits for nobody and asks nobody."""
        return self._array

    def snapshot(self) -> Snapshot | None:
        """Return what is known without asking a member; None without an array."""
        try:
            array = self.array() if self._array is not None else self._unseen()
        except NoArray:
            return None
        places = self._places
        slots = [entry.slot for entry in array.map.slots]
        return Snapshot(
            map=array.map,
            state=array.state(),
            away=tuple(entry.slot for entry in array.away()),
            writable=tuple(array.writable()),
            observed={slot: self._observed(array, slot) for slot in slots},
            problems=self._sentences(slots),
            urls=dict(places.urls),
            spaces=dict(self.spaces),
            degraded_write=self.settings.degraded_write,
            newer=self._newer,
            beside={
                waiting.member: self._seen_beside(array, waiting)
                for waiting in array.map.waiting
                if waiting.used
            },
        )

    def _seen_beside(self, array: Array, waiting: Waiting) -> SeenBeside:
        seat = array.seat(waiting.member)
        if seat is None:
            sentence = f"Nothing was found at {waiting.url}; attach the right disk."
            return SeenBeside(waiting, MemberMissing.word, sentence, None)
        seated, slot = seat
        error = seated.health.error(slot)
        return SeenBeside(
            waiting,
            error.word if error else None,
            str(error) if error else None,
            self.spaces_beside.get(waiting.member),
        )

    def _unseen(self) -> Array:
        """Return the array before any member was looked at: all are hoped for."""
        with db.engine.connect() as connection:
            found = maps.load(connection)
        hoped = {
            entry.slot: parse_member_url(entry.url, self.settings.data_dir)
            for entry in found.slots
        }
        return Array(found, hoped, self.health, self.executor)

    def _observed(self, array: Array, slot: int) -> str | None:
        if slot not in array.members:
            return MemberMissing.word
        return self.health.observed(slot)

    def _sentences(self, slots: list[int]) -> dict[int, str]:
        told = dict(self._places.problems)
        for slot in slots:
            error = self.health.error(slot)
            if error is not None:
                told[slot] = str(error)
        return told

    # -- damage that readers met ------------------------------------------

    def note_damage(self, damage: Damage) -> None:
        """Remember a bad object; `storage.damage` writes the debt."""
        with self._lock:
            if len(self._damage) < _MOST_DAMAGE:
                self._damage[damage] = None

    def take_damage(self) -> list[Damage]:
        """Return what was noted since the last time."""
        with self._lock:
            found, self._damage = list(self._damage), OrderedDict()
            return found

    # -- the end ----------------------------------------------------------

    def close(self) -> None:
        """End the threads; transfers that still run get errors."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(10)
        if "executor" in self.__dict__:
            self.executor.shutdown(wait=True)


def _url_of(member: Member, places: Mapping[str, Member]) -> str:
    return next(url for url, place in places.items() if place is member)


_making = threading.Lock()


def runtime() -> Runtime:
    """Return the runtime of this process and application, made at first use."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    found = app.extensions.get(_KEY)
    if found is None or found.pid != os.getpid():
        with _making:
            found = app.extensions.get(_KEY)
            if found is None or found.pid != os.getpid():
                found = app.extensions[_KEY] = Runtime(app)
    made: Runtime = found
    return made


def init_app(app: Flask) -> None:
    """Name the place; the runtime itself is made after the fork."""
    app.extensions.setdefault(_KEY, None)
