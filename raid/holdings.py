"""What the member of a slot should hold of a blob, as its manifest says."""

from collections.abc import Iterator
from dataclasses import dataclass

from raid.format import object_length
from raid.keys import manifest_key
from raid.manifest import Form, Manifest
from raid.shards import object_key


@dataclass(frozen=True)
class Holding:
    """One object: a role of a segment, or, without one, the manifest alone."""

    key: str
    length: int
    segment: int | None = None
    role: int | None = None


def holdings(manifest: Manifest, slot: int) -> Iterator[Holding]:
    """Yield the objects of a blob that a slot holds; the manifest comes last.

    A blob is readable through its manifest, so on a member that is being filled the
    parts are there before it.
    """
    combined = manifest.form is Form.COMBINED
    with_manifest = False
    for number, row in enumerate(manifest.segments):
        if slot in row.slots:
            role = row.slots.index(slot)
            inside = manifest.length if combined else 0
            length = object_length(row.length, row.shape, inside)
            yield Holding(object_key(manifest, number, role), length, number, role)
            with_manifest = with_manifest or combined
    if not with_manifest:
        key = manifest_key(manifest.blob, manifest.attempt)
        yield Holding(key, manifest.length)
