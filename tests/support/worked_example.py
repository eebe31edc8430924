"""The worked example of docs/on-disk-format.md, packed by the engine's functions."""

from uuid import UUID

from raid.geometry import Code, Level, Shape
from raid.journal import NO_HASH, Entry, EntryFlag
from raid.manifest import Description, Manifest
from raid.superblock import MemberEntry, StoredState, Superblock, Tombstone
from storage.journal.lines import Change, encode
from support.packing import pack_blob, pack_segment

ARRAY = UUID("8f14e45f-ceea-467f-a9b8-1d2c3b4a5e6f")
BLOB = UUID("c9f0f895-fb98-4b91-8f3e-a1b2c3d40500")
MEMBERS = [UUID(f"45c48cce-2e2d-4fbd-8a1b-00000000000{i}") for i in range(3)]
SHAPE = Shape(2, 1, Code.XOR)
CONTENT = b"Hold fast!\n"
UPLOADED = 1_793_534_400_000_000
DESCRIPTION = Description("motto.txt", "/Ship", "ann", "text/plain", UPLOADED)
SLOTS = [0, 1, 2]

SEGMENT = pack_segment(ARRAY, BLOB, 0, 1, SHAPE, CONTENT, SLOTS)
MANIFEST, STORED = pack_blob(ARRAY, BLOB, 1, DESCRIPTION, [SEGMENT], slots=SLOTS)
INLINE = Manifest.build(ARRAY, BLOB, 1, DESCRIPTION, inline=CONTENT)
SUPERBLOCK = Superblock(
    ARRAY,
    MEMBERS[0],
    0,
    Level.RAID5,
    SHAPE,
    1,
    1,
    UPLOADED,
    tuple(
        MemberEntry(uuid, slot, StoredState.IN_SYNC, f"file:///srv/d{slot}")
        for slot, uuid in enumerate(MEMBERS)
    ),
)
TOMBSTONE = Tombstone(ARRAY, BLOB, 1, UPLOADED)
LINES = b"".join(
    encode(
        [
            Change("entries", "ZmllbGQgb2YgYmFybGV5IQ", None),
            Change("users", "1", {"disabled_at": None, "id": 1, "name": "ann"}),
        ]
    )
)
JOURNAL = Entry(ARRAY, 1, 1, UPLOADED, NO_HASH, EntryFlag.NONE, LINES)


def shard(role: int) -> bytes:
    """Return the object of one role."""
    objects = STORED[SEGMENT.row.slots[role]]
    return next(
        data for key, data in objects.items() if key.endswith(SHAPE.roles[role])
    )


OBJECTS = {
    "shard d0": shard(0),
    "shard d1": shard(1),
    "shard p": shard(2),
    "manifest": MANIFEST.pack(),
    "inline manifest": INLINE.pack(),
    "superblock": SUPERBLOCK.pack(),
    "tombstone": TOMBSTONE.pack(),
    "journal entry": JOURNAL.pack(),
}
