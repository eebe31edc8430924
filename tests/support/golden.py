"""The blobs of the golden vectors: what goes in, and how the reference packs it.

`python -m support.golden FOLDER` (in tests/) writes the vectors. They are frozen: do
that for new cases or a new version of the format, into a folder of its own, and never
over these.
"""

import base64
import json
import sys
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from support import reference as ref

FOLDER = Path(__file__).parent.parent / "raid" / "golden"
ARRAY = UUID("6f1c1de4-9a3b-4a57-8d0c-2b7f30c5a001")
MEMBERS = [UUID(f"3d0e{i:04x}-5b1f-4c2d-9e3f-00000000000{i}") for i in range(8)]
UPLOADED = 1_793_448_000_123_456
UNIT = ref.UNIT


@dataclass(frozen=True)
class Case:
    """One blob: `parts` are (length, attempt) of its segments."""

    name: str
    blob: UUID
    width: int
    shape: tuple[int, int, int]
    slots: tuple[int, ...]
    parts: tuple[tuple[int, int], ...] = ()
    combined: bool = False
    inline: int = 0
    words: tuple[str, str, str, str] = ("report.pdf", "/Team", "alice", "text/plain")
    receipt: bool = False

    @property
    def attempt(self) -> int:
        return max((attempt for _, attempt in self.parts), default=1)

    def contents(self) -> list[bytes]:
        return [ref.data(length, i) for i, (length, _) in enumerate(self.parts)]

    def content(self) -> bytes:
        return b"".join(self.contents()) + ref.data(self.inline)

    @property
    def digest(self) -> bytes | None:
        return sha256(self.content()).digest() if self.receipt else None


def _blob(number: int) -> UUID:
    return UUID(f"a{number:x}5e0f31-77aa-4e4b-b0c4-1f2e{number:02x}00{number:02x}00")


R5, R5X3, MIRROR, MIRROR3 = (3, 1, 2), (2, 1, 2), (1, 1, 1), (1, 2, 1)
R6, R6X5 = (2, 2, 3), (3, 2, 3)
ALL, FIVE = (0, 1, 2, 3), (0, 1, 2, 3, 4)
NAMES = ("Grüße 日本 🎉.txt", "/Отдел/ملفات", "zoë", "text/plain; charset=utf-8")
CASES = [
    Case("empty", _blob(0), 4, R5, ALL),
    Case("inline", _blob(1), 4, R5, ALL, inline=1000, words=NAMES, receipt=True),
    Case("combined", _blob(2), 4, R5, ALL, ((70_000, 1),), True, receipt=True),
    Case("combined-rows", _blob(3), 4, R5, ALL, ((3 * UNIT + 1001, 1),), True),
    Case("combined-full", _blob(4), 3, R5X3, (0, 1, 2), ((2 * UNIT, 3),), True),
    Case("segments", _blob(5), 4, R5, ALL, ((3 * UNIT + 17, 1), (777, 2), (1, 2))),
    Case("mirror", _blob(6), 2, MIRROR, (0, 1), ((66_001, 1),), True, words=NAMES),
    Case("mirror-three", _blob(7), 3, MIRROR3, (0, 1, 2), ((UNIT + 9, 1), (4096, 1))),
    Case("narrow", _blob(8), 4, R5X3, (0, 1, 3), ((90_000, 2),), True),
    Case("narrow-copies", _blob(9), 4, MIRROR, (1, 2), ((5000, 4), (333, 4))),
    Case("raid6", _blob(10), 4, R6, ALL, ((2 * UNIT + 1001, 1),), True, words=NAMES),
    Case(
        "raid6-five", _blob(11), 5, R6X5, FIVE, ((3 * UNIT + 17, 1), (777, 2), (1, 2))
    ),
    Case("raid6-narrow", _blob(12), 5, R6, (0, 2, 3, 4), ((90_000, 2),), True),
    Case("raid6-copies", _blob(13), 4, MIRROR3, (0, 1, 3), ((70_000, 3),), True),
    Case("raid10", _blob(14), 4, MIRROR, ALL, ((UNIT + 9, 1), (4096, 1), (5, 1))),
    Case("raid10-five", _blob(15), 5, MIRROR, FIVE, ((66_001, 1),), True),
]


def key(case: Case, number: int, attempt: int, role: str) -> str:
    start = f"o/{str(case.blob)[:2]}/{case.blob}"
    if case.combined:
        return f"{start}.m{case.attempt}.{role}"
    return f"{start}.s{number}.{attempt}.{role}"


def reference_members(case: Case) -> dict[int, dict[str, bytes]]:
    """Return what lies on every slot, packed by the reference."""
    segments = []
    for number, content in enumerate(case.contents()):
        attempt = case.parts[number][1]
        segment = ref.Segment(ARRAY, case.blob, number, attempt, case.shape, content)
        segments.append((segment, segment.slots(list(case.slots))))
    form = (2 if case.combined else 3) if segments else int(bool(case.inline))
    manifest = ref.manifest(
        ARRAY,
        case.blob,
        case.attempt,
        form,
        case.words,
        UPLOADED,
        segments,
        ref.data(case.inline),
        case.digest,
    )
    members: dict[int, dict[str, bytes]] = {slot: {} for slot in range(case.width)}
    for number, (segment, slots) in enumerate(segments):
        for role, word in enumerate(ref.role_names(*case.shape)):
            name = key(case, number, case.parts[number][1], word)
            carried = manifest if case.combined else b""
            members[slots[role]][name] = segment.shard(role, carried)
    for slot, objects in members.items():
        if not case.combined or not objects:
            alone = f"o/{str(case.blob)[:2]}/{case.blob}.m{case.attempt}"
            objects[alone] = manifest
        name = f"superblock.1.{slot + 1}"
        objects[name] = reference_superblock(case, slot)
    if case.name == "narrow":
        stone = f"t/{str(case.blob)[:2]}/{case.blob}"
        members[2][stone] = ref.tombstone(ARRAY, case.blob, case.attempt, UPLOADED)
    return members


def level_of(case: Case) -> tuple[int, int, int]:
    """Return level, k and m of the array that a case lies on."""
    kind, n = case.name.partition("-")[0], case.width
    named = {"mirror": (1, 1, n - 1), "raid6": (6, n - 2, 2), "raid10": (10, 1, 1)}
    return named.get(kind, (5, n - 1, 1))


def reference_superblock(case: Case, slot: int) -> bytes:
    members = [
        (MEMBERS[i], i, 1 if i in case.slots else 2, f"file:///srv/d{i}")
        for i in range(case.width)
    ]
    return ref.superblock(
        ARRAY,
        MEMBERS[slot],
        slot,
        (1, slot + 1),
        level_of(case),
        case.name == "inline",
        UPLOADED + slot,
        members,
    )


def freeze(members: dict[int, dict[str, bytes]]) -> dict[str, dict[str, str]]:
    return {
        str(slot): {
            name: base64.b64encode(zlib.compress(data, 9)).decode()
            for name, data in sorted(objects.items())
        }
        for slot, objects in members.items()
    }


def frozen_members(case: Case) -> dict[int, dict[str, bytes]]:
    """Return what the frozen vector of a case says lies on every slot."""
    stored = json.loads((FOLDER / f"{case.name}.json").read_text())
    return {
        int(slot): {
            name: zlib.decompress(base64.b64decode(data))
            for name, data in objects.items()
        }
        for slot, objects in stored["members"].items()
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=False)
    for case in CASES:
        stored = {
            "blob": str(case.blob),
            "size": len(case.content()),
            "sha256": sha256(case.content()).hexdigest(),
            "members": freeze(reference_members(case)),
        }
        text = json.dumps(stored, indent=1, ensure_ascii=True)
        (folder / f"{case.name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
