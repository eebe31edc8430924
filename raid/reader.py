"""Read a blob: only the units that a range needs, each verified before it leaves.

A unit that is late, missing or bad is rebuilt from the others of its row. Then only
the rebuilt unit is hashed: when it matches its tag, so did what it was made of, and
the inputs are looked at only when it differs.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID

from raid.array import Array
from raid.errors import (
    BlobDamaged,
    BlobUnreachable,
    DamagedObject,
    MemberError,
    ObjectMissing,
    RaidError,
    UnknownVersion,
)
from raid.format import HEADER_LENGTH, ShardHeader
from raid.geometry import UNIT, Code, Piece, Shape
from raid.keys import combined_key, manifest_key
from raid.manifest import Form, Manifest
from raid.member import Member
from raid.rows import MAX_METADATA
from raid.segments import Damage, SegmentReader
from raid.superblock import StoredState

OnDamage = Callable[[Damage], None]

_RUN = 1536 * 1024

_FIRST_READ = 16 * 1024
"""Usually holds the header, the table and the manifest of a combined object."""

_LONGEST_INSIDE = 2 * MAX_METADATA
"""A manifest inside a combined object has one row; names are all that can be long."""


@dataclass(frozen=True)
class BlobRef:
    """What the database knows of a blob; slots and shape are a combined segment's."""

    blob: UUID
    attempt: int
    size: int
    form: Form
    manifest_digest: bytes
    slots: tuple[int, ...] = ()
    k: int = 0
    m: int = 0
    code: int = 0

    def manifest_key(self, slot: int) -> str:
        """Return the key of the object on a slot that holds the manifest."""
        if slot not in self.slots:
            return manifest_key(self.blob, self.attempt)
        words = Shape(self.k, self.m, Code(self.code)).roles
        return combined_key(self.blob, self.attempt, words[self.slots.index(slot)])

    def role(self, slot: int) -> int | None:
        """Return the combined role that a slot has."""
        return self.slots.index(slot) if slot in self.slots else None


def read(
    array: Array,
    ref: BlobRef,
    start: int,
    stop: int,
    *,
    manifest: Manifest | None = None,
    on_damage: OnDamage,
) -> Iterator[bytes]:
    """Yield bytes start..stop of a blob, each chunk verified before it leaves.

    Raises instead of yielding what can't be verified; the first chunk is only read
    when it is asked for. ``on_damage`` is called in the thread that reads.
    """
    if start >= min(stop, ref.size):
        return
    found = manifest or load_manifest(array, ref, on_damage)
    if found.form is Form.INLINE:
        yield found.inline[start:stop]
        return
    yield from _ahead(array, _runs(array, found, start, stop), on_damage)


@dataclass
class _Run:
    """A few adjacent units of a segment, read at once."""

    segment: SegmentReader
    pieces: list[Piece]
    chunks: list[bytes] = field(default_factory=list)
    error: RaidError | None = None

    def load(self) -> "_Run":
        """Read and verify the units; those before a bad one may still be served."""
        try:
            for piece in self.pieces:
                self.chunks.append(self.segment.bytes_of(piece))
        except RaidError as error:
            self.error = error
        return self


def _runs(array: Array, manifest: Manifest, start: int, stop: int) -> Iterator[_Run]:
    """Yield what a range covers in runs of whole rows, of about one size."""
    for span in manifest.spans(start, stop):
        segment = SegmentReader(array, manifest, span.number)
        rows = max(1, _RUN // (segment.k * UNIT))
        covered = segment.pieces(span.start, span.stop)
        for _, run in groupby(covered, lambda piece: piece.row // rows):  # noqa: B023
            yield _Run(segment, list(run))


def _ahead(array: Array, runs: Iterator[_Run], on_damage: OnDamage) -> Iterator[bytes]:
    """Yield the chunks of the runs, one run being loaded while another is sent.

    A run that no thread has begun by the time it is wanted is loaded here, so a busy
    executor makes a download slower but never makes it wait.
    """
    run = next(runs).load()
    future: Future[_Run] | None = None
    try:
        while True:
            following = None if run.error else next(runs, None)
            if following is not None:
                future = array.executor.submit(following.load)
            yield from run.chunks
            run.chunks.clear()
            for damage in run.segment.take_damage():
                on_damage(damage)
            if run.error is not None:
                raise run.error
            if following is None or future is None:
                return
            run = following.load() if future.cancel() else future.result()
    finally:
        if future is not None and not future.cancel():
            wait([future])  # whoever stops reading leaves nothing running


def load_manifest(array: Array, ref: BlobRef, on_damage: OnDamage) -> Manifest:
    """Return the manifest whose digest the database keeps, from any member."""
    search = _Search(array, ref, on_damage)
    resting = []
    for slot in search.slots():
        if array.health.usable(slot):
            if (manifest := search.ask(slot)) is not None:
                return manifest
        else:
            resting.append(slot)
    for slot in resting:
        if (manifest := search.ask(slot)) is not None:
            return manifest
    raise search.failure()


def read_manifest(member: Member, key: str, *, combined: bool) -> bytes:
    """Return the bytes of a manifest, alone or inside a combined object; unverified."""
    if not combined:
        return member.read(key)
    head = member.read(key, 0, _FIRST_READ)
    header = ShardHeader.unpack(head)
    start = HEADER_LENGTH + header.table_length
    stop = start + header.manifest_length
    if header.manifest_length > _LONGEST_INSIDE:
        raise DamagedObject(f"{key} says that a manifest inside it is impossibly long.")
    if stop > len(head):
        return member.read(key, start, header.manifest_length)
    return head[start:stop]


class _Search:
    """Ask one member after the other for a manifest."""

    def __init__(self, array: Array, ref: BlobRef, on_damage: OnDamage) -> None:
        self._array = array
        self._ref = ref
        self._on_damage = on_damage
        self._away: list[int] = []
        self._newer: UnknownVersion | None = None

    def slots(self) -> list[int]:
        """Return all slots, started at one that the blob's uuid chooses."""
        known = [entry.slot for entry in self._array.map.slots]
        slots = [slot for slot in known if not self._array.is_gone(slot)] or known
        first = self._ref.blob.int % len(slots)
        return slots[first:] + slots[:first]

    def ask(self, slot: int) -> Manifest | None:
        """Return the verified manifest of a member, or note why it has none."""
        key = self._ref.manifest_key(slot)
        try:
            with self._array.using(slot) as member:
                combined = self._ref.role(slot) is not None
                data = read_manifest(member, key, combined=combined)
            return Manifest.unpack(data, self._ref.manifest_digest)
        except ObjectMissing:
            self._note_absence(slot, key)
        except MemberError:
            self._away.append(slot)
        except DamagedObject as error:
            self._note(slot, key, str(error))
        except UnknownVersion as error:
            self._newer = error
        return None

    def _note_absence(self, slot: int, key: str) -> None:
        entry = self._array.map.entry(slot)
        if entry is None or entry.leaving:
            return
        if entry.state is StoredState.IN_SYNC:
            self._note(slot, key, "The object is missing.")

    def _note(self, slot: int, key: str, reason: str) -> None:
        role = self._ref.role(slot)
        segment = None if role is None else 0
        damage = Damage(slot, self._ref.blob, segment, role, key, reason)
        self._on_damage(damage)

    def failure(self) -> RaidError:
        """Return the honest error; absence means nothing unless all members agree."""
        if self._newer is not None:
            return self._newer
        if self._away:
            away = [self._array.label(slot) for slot in sorted(self._away)]
            return BlobUnreachable(
                f"The description of this file is on members that are away "
                f"({', '.join(away)}); it can be read when one is back.",
                away,
            )
        return BlobDamaged(
            "No member has the description of this file in good order; "
            "restore the file from a backup."
        )
