"""Write a blob: one pass over its bytes, durable before it is reported.

    source -> half A -> encode -> shards of A to the members -> row of A
              half B -> encode -> shards of B ...

While the shards of one half are made durable, the other half is filled from the
source. Both stay in memory until they are durable, so that a segment whose member
failed can be encoded anew over the members that are left. Nothing here undoes an
upload that failed: the caller knows about uploads that were killed, too, and calls
``erase`` for both.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from raid.array import Array
from raid.batches import Batch
from raid.buffers import BufferPool
from raid.errors import MemberError, WriteRefused
from raid.geometry import UNIT, Code, narrow
from raid.halves import Half, lend_halves
from raid.keys import blob_prefix, manifest_key
from raid.manifest import INLINE_LIMIT, Description, Form, Manifest, SegmentRow
from raid.plans import Plan, healthy_slots, plan_segment
from raid.shards import Encoded, Place, encode, key_of
from raid.stored import Source, Stored, UploadLog

__all__ = ["Source", "Stored", "UploadLog", "erase", "erase_on", "write"]


@dataclass
class _Segment:
    """A segment on its way to the members; encoded anew when one of them fails."""

    half: Half
    number: int
    combined: bool
    plan: Plan
    encoded: Encoded
    avoid: set[int] = field(default_factory=set)
    batch: Batch = field(default_factory=Batch)
    manifest: Manifest | None = None


@dataclass
class _Upload:
    """One upload on its way; ``run`` is its whole life."""

    array: Array
    blob: UUID
    next_attempt: Callable[[], int]
    description: Description
    source: Source
    log: UploadLog
    hasher: "hashlib._Hash | None"
    sealed_us: Callable[[], int] | None = None
    attempt: int = 0
    offset: int = 0
    ended: bool = False
    at_risk: bool = False
    sha256: bytes | None = None
    rows: list[SegmentRow] = field(default_factory=list)
    holders: list[tuple[UUID | None, ...]] = field(default_factory=list)

    def run(self, first: Half, second: Half, capacity: int) -> Stored:
        """Receive and store the whole body; only its end tells which form it has."""
        self.attempt = self.next_attempt()
        self.fill(first, capacity)
        if not self.ended:
            self.fill(second, min(UNIT, capacity))
        if second.length == 0:
            return self.store_small(first)
        self.store_segments(first, second, capacity)
        self.sha256 = self.hasher.digest() if self.hasher else None
        self.seal(self.offset)
        return self.publish(self.manifest(self.rows))

    def fill(self, half: Half, most: int) -> None:
        """Fill a half up to ``most`` bytes or the end of the body."""
        start = at = half.length
        while at < most and not self.ended:
            count = self.source.readinto(half.data[at:most])
            self.ended = count == 0
            at += count
        half.length = at
        if self.hasher is not None:
            self.hasher.update(half.data[start:at])

    def seal(self, size: int) -> None:
        """Let the log check the body, and take the time: a body may come for hours."""
        self.log.sealing(size, self.sha256)
        if self.sealed_us is not None:
            now = self.sealed_us()
            self.description = replace(self.description, uploaded_us=now)

    def store_small(self, half: Half) -> Stored:
        """Store a body of at most one segment: one durable write per member."""
        content = half.data[: half.length]
        self.sha256 = (self.hasher or hashlib.sha256(content)).digest()
        self.seal(half.length)
        if half.length <= INLINE_LIMIT:
            healthy_slots(self.array)
            return self.publish(self.manifest([], inline=bytes(content)))
        segment = self.launch(self.prepare(half, 0, combined=True))
        self.settle(segment)
        return self.publish(segment.manifest or self.manifest(self.rows, combined=True))

    def store_segments(self, full: Half, filling: Half, capacity: int) -> None:
        """Store a longer body: one half is on its way while the other is filled."""
        flying: _Segment | None = None
        number = 0
        try:
            while full.length:
                ready = self.prepare(full, number)
                if flying is not None:
                    self.settle(flying)
                    filling.length = 0
                flying = self.launch(ready)
                self.fill(filling, capacity)
                full, filling, number = filling, full, number + 1
            if flying is not None:
                self.settle(flying)
        finally:
            if flying is not None:
                flying.batch.drain()

    def prepare(self, half: Half, number: int, *, combined: bool = False) -> _Segment:
        """Encode a half over the members that are healthy now."""
        plan = plan_segment(self.array, self.blob, number)
        return _Segment(half, number, combined, plan, self.encode(half, number, plan))

    def encode(self, half: Half, number: int, plan: Plan) -> Encoded:
        """Compute the parity and the tags of a half under the present attempt."""
        place = Place(self.array.map.array, self.blob, number, self.attempt)
        parity = half.parity_for(plan.shape)
        return encode(place, plan.shape, plan.slots, half.data, half.length, parity)

    def launch(self, segment: _Segment) -> _Segment:
        """Start the puts of a segment on the members that can take it."""
        row = segment.encoded.row
        inside = b""
        if segment.combined:
            segment.manifest = self.manifest([row], combined=True)
            inside = segment.manifest.pack()
        puts = {
            slot: (
                key_of(self.blob, segment.number, row, role, segment.combined),
                segment.encoded.parts(role, inside),
            )
            for role, slot in enumerate(row.slots)
            if slot in segment.plan.present
        }
        segment.batch = Batch.start(self.array, puts)
        return segment

    def settle(self, segment: _Segment) -> None:
        """Wait until a segment is durable as promised, then record who holds it."""
        done = self.until_durable(segment)
        row = segment.encoded.row
        holders = tuple(
            self.array.uuid_of(slot) if slot in done else None for slot in row.slots
        )
        offset, self.offset = self.offset, self.offset + row.length
        self.rows.append(row)
        self.holders.append(holders)
        self.at_risk |= None in holders
        if not segment.combined:
            self.log.segment(segment.number, offset, row, holders)

    def until_durable(self, segment: _Segment) -> set[int]:
        """Encode a segment anew over fewer members until all of them hold it."""
        while True:
            done, failed = segment.batch.finish()
            if not failed:
                return done
            segment.avoid |= failed.keys()
            plan = plan_segment(self.array, self.blob, segment.number, segment.avoid)
            if _holds_what_it_can(segment.plan, plan, done):
                return done
            self.discard(segment, done)
            self.attempt = self.next_attempt()
            segment.plan = plan
            segment.encoded = self.encode(segment.half, segment.number, plan)
            self.launch(segment)

    def discard(self, segment: _Segment, slots: set[int]) -> None:
        """Remove the shards of an attempt that failed; a sweep gets what stays."""
        row = segment.encoded.row
        for role, slot in enumerate(row.slots):
            if slot in slots:
                key = key_of(self.blob, segment.number, row, role, segment.combined)
                _delete_if_reachable(self.array, slot, key)

    def manifest(
        self,
        rows: list[SegmentRow],
        *,
        inline: bytes = b"",
        combined: bool = False,
    ) -> Manifest:
        """Describe the blob; a combined one has the attempt of its only segment."""
        return Manifest.build(
            self.array.map.array,
            self.blob,
            rows[0].attempt if combined else self.attempt,
            self.description,
            segments=rows,
            inline=inline,
            combined=combined,
            sha256=self.sha256,
        )

    def publish(self, manifest: Manifest) -> Stored:
        """Give every member the manifest that has it not with a combined object."""
        combined = manifest.form is Form.COMBINED
        roles = manifest.segments[0].slots if combined else ()
        holders = self.holders[0] if combined else ()
        on = {s for s, who in zip(roles, holders, strict=True) if who is not None}
        others = [s for s in self.array.writable() if s not in roles]
        put = (manifest_key(self.blob, manifest.attempt), [manifest.pack()])
        done, _ = Batch.start(self.array, dict.fromkeys(others, put)).finish()
        on |= done
        self.require_manifests(on)
        return Stored(manifest, self.holders, on, self.at_risk)

    def require_manifests(self, on: set[int]) -> None:
        """Refuse to go on when fewer members hold the manifest than are promised."""
        needed = self.array.map.shape.m + 1
        if len(on) >= needed:
            return
        self.at_risk = True
        healthy_slots(self.array)
        if not on or self.array.degraded_write == "refuse":
            raise WriteRefused(
                f"Only {len(on)} members took the description of the file and "
                f"{needed} are needed, so it is not stored; try again."
            )


def _holds_what_it_can(old: Plan, new: Plan, done: set[int]) -> bool:
    """Tell whether encoding anew would only write the same copies again."""
    copies = old.shape == new.shape and old.shape.code is Code.COPIES
    return copies and len(done) >= len(new.present)


def _delete_if_reachable(array: Array, slot: int, key: str) -> bool:
    try:
        with array.using(slot, write=True) as member:
            member.delete(key)
    except MemberError:
        return False
    return True


def write(
    array: Array,
    blob: UUID,
    attempt: Callable[[], int],
    description: Description,
    source: Source,
    log: UploadLog,
    pool: BufferPool,
    *,
    want_sha256: bool,
    size: int | None = None,
    sealed_us: Callable[[], int] | None = None,
) -> Stored:
    """Store the body of a source as a blob, durable as promised, or raise.

    ``attempt`` returns the upload's own number first and a fresh, fenced one for each
    encoding anew. ``size`` only chooses the buffers. ``sealed_us`` gives the time that
    the manifest tells, once the body is whole. After an error the caller runs
    ``erase``. The log is called in this thread; a blob of one segment has no rows.
    """
    shape = narrow(array.map.shape, len(healthy_slots(array)))
    hasher = hashlib.sha256() if want_sha256 else None
    upload = _Upload(array, blob, attempt, description, source, log, hasher, sealed_us)
    with lend_halves(pool, shape, size) as (first, second, capacity):
        return upload.run(first, second, capacity)


def erase(array: Array, blob: UUID) -> list[int]:
    """Remove every object of a blob; return the slots that could not be reached."""
    slots = [entry.slot for entry in array.map.slots]
    gone = array.executor.map(lambda slot: erase_on(array, slot, blob), slots)
    return [slot for slot, reached in zip(slots, gone, strict=True) if not reached]


def erase_on(array: Array, slot: int, blob: UUID) -> bool:
    """Remove every object of a blob from one member; False when out of reach."""
    if not array.health.usable(slot):
        return False
    try:
        with array.using(slot) as member:
            for info in list(member.list(blob_prefix(blob))):
                member.delete(info.key)
    except MemberError:
        return False
    return True
