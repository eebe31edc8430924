"""Give a member what it should hold: made from the others, verified, then published.

Nothing is replaced before it is proved bad once more, and what is replaced moves to
quarantine. What is stored anew has the same bytes as at first: a shard holds no time,
no host and no member.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

from raid.array import Array
from raid.errors import (
    DamagedObject,
    MemberFailing,
    ObjectExists,
    ObjectKept,
    ObjectMissing,
)
from raid.format import object_length, payload_offset
from raid.geometry import unit_views
from raid.keys import (
    SUPERBLOCKS,
    manifest_key,
    parse_superblock_key,
    superblock_key,
    tombstone_key,
)
from raid.manifest import Form, Manifest
from raid.member import Buffer, Member
from raid.segments import Damage, SegmentReader
from raid.shards import column_tags, object_key, object_parts, place_of, read_table
from raid.superblock import Superblock, Tombstone

_KEPT_SUPERBLOCKS = 2


def put_manifest(array: Array, slot: int, manifest: Manifest) -> None:
    """Store the manifest of a blob on a member that has no combined role of it."""
    key = manifest_key(manifest.blob, manifest.attempt)
    _put_right(array, slot, key, [manifest.pack()])


def put_shard(
    array: Array,
    slot: int,
    manifest: Manifest,
    segment: int,
    role: int,
    *,
    source: Array | None = None,
) -> bool:
    """Store the object of a role on a member; False when it was there and whole.

    It is made from the other roles, every unit verified against a table that the
    manifest vouches for, so what is published is right whoever was wrong. With another
    `source` than the array that is written to, the member that has the role there is
    read first.
    """
    bad, key = False, object_key(manifest, segment, role)
    try:
        check_shard(array, slot, manifest, segment, role)
    except ObjectMissing:
        pass
    except (DamagedObject, MemberFailing):
        bad = True  # other bytes, or a bad sector under them: they move aside
    else:
        with array.using(slot, write=True) as member:
            member.sync(key)
        return False
    parts = made_parts(
        source or array, manifest, segment, role, trusted=source is not None
    )
    with array.using(slot, write=True) as member:
        member.put(key, parts, replace=bad)
    return True


def made_parts(
    source: Array,
    manifest: Manifest,
    segment: int,
    role: int,
    *,
    trusted: bool,
    on_damage: Callable[[Damage], None] = lambda _: None,
) -> list[Buffer]:
    """Return the object of a role, verified; read from its own member if `trusted`.

    What turns out to be bad among the sources is told, also when nothing comes of it.
    """
    reader = SegmentReader(source, manifest, segment)
    if not trusted:
        reader.forsake(role)
    try:
        units = list(reader.payload(role))
    finally:
        for damage in reader.damage:
            on_damage(damage)
    return object_parts(
        place_of(manifest, segment),
        manifest.segments[segment],
        role,
        reader.table(),
        units,
        inside(manifest),
    )


def _put_right(array: Array, slot: int, key: str, parts: Sequence[Buffer]) -> None:
    """Store bytes that are verified; other bytes under their key are proved bad."""
    with array.using(slot, write=True) as member:
        try:
            member.put(key, parts)
        except ObjectExists:
            member.put(key, parts, replace=True)
        except MemberFailing:
            if not _lies_on_a_bad_sector(member, key):
                raise
            member.put(key, parts, replace=True)


def _lies_on_a_bad_sector(member: Member, key: str) -> bool:
    """Tell whether it is reading what is there already that fails."""
    try:
        member.read(key)
    except MemberFailing:
        return True
    except ObjectMissing:
        pass
    return False


def check_manifest(array: Array, slot: int, manifest: Manifest) -> None:
    """Raise DamagedObject or ObjectMissing unless a member has the manifest whole."""
    key = manifest_key(manifest.blob, manifest.attempt)
    with array.using(slot) as member:
        data = member.read(key)
    if data != manifest.pack():
        raise DamagedObject(f"{key} on {array.label(slot)} is not as it was written.")


def check_shard(
    array: Array, slot: int, manifest: Manifest, segment: int, role: int
) -> None:
    """Raise DamagedObject or ObjectMissing unless every byte of an object is right."""
    row = manifest.segments[segment]
    key = object_key(manifest, segment, role)
    with array.using(slot) as member:
        data = member.read(key)
    packed = inside(manifest)
    if len(data) != object_length(row.length, row.shape, len(packed)):
        raise DamagedObject(f"{key} on {array.label(slot)} has another length.")
    place = place_of(manifest, segment)
    table = read_table(data, place, row, role)
    start = payload_offset(row.length, row.shape, len(packed))
    units = unit_views(memoryview(data)[start:], row.length, row.shape.k)
    found = column_tags(place, row.shape, role, units)
    column = row.shape.column(role)
    if found != [table.tag(index, column) for index in range(len(units))]:
        raise DamagedObject(f"A unit of {key} on {array.label(slot)} is bad.")
    if data[start - len(packed) : start] != packed:
        raise DamagedObject(f"The manifest in {key} on {array.label(slot)} is bad.")


def inside(manifest: Manifest) -> bytes:
    """Return the bytes of the manifest that stand in the objects of a blob."""
    return manifest.pack() if manifest.form is Form.COMBINED else b""


def put_tombstone(
    array: Array, slot: int, blob: UUID, attempt: int, time_us: int
) -> None:
    """Store the tombstone of a blob, which fits even on a full member.

    A blob has one tombstone; a whole one that is there already, of another attempt
    or time, says the same.
    """
    key = tombstone_key(blob)
    parts = [Tombstone(array.map.array, blob, attempt, time_us).pack()]
    with array.using(slot) as member:
        try:
            member.put(key, parts, essential=True)
        except ObjectExists:
            if _is_tombstone(member.read(key), array.map.array, blob):
                member.sync(key)
            else:
                member.put(key, parts, essential=True, replace=True)


def _is_tombstone(data: bytes, array: UUID, blob: UUID) -> bool:
    try:
        found = Tombstone.unpack(data)
    except DamagedObject:
        return False
    return (found.array, found.blob) == (array, blob)


def drop_tombstone(array: Array, slot: int, blob: UUID) -> None:
    """Remove the tombstone of a blob that every member has forgotten."""
    with array.using(slot) as member:
        member.delete(tombstone_key(blob))


def put_superblock(array: Array, slot: int, superblock: Superblock) -> None:
    """Store a newer superblock on a member, and keep the one before it.

    Older ones go only after the new one is durable, and only those of this array. They
    stay where nothing may be deleted.
    """
    key = superblock_key(superblock.incarnation, superblock.event)
    with array.using(slot) as member:
        member.put(key, [superblock.pack()], essential=True, replace=True)
        kept = sorted(
            (numbers, info.key)
            for info in list(member.list(SUPERBLOCKS))
            if (numbers := parse_superblock_key(info.key)) is not None
        )
        with suppress(ObjectKept):
            for numbers, old in kept[:-_KEPT_SUPERBLOCKS]:
                if numbers < superblock.order:
                    member.delete(old)
