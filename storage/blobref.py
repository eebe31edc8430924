"""From a blob's row to its manifest."""

from raid.array import Array
from raid.manifest import Form, Manifest
from raid.reader import BlobRef, OnDamage, load_manifest
from raid.segments import Damage
from storage.models import Blob
from storage.runtime import Runtime


def reference(blob: Blob) -> BlobRef:
    """Return what the engine needs to find a blob."""
    layout = blob.layout or {}
    return BlobRef(
        blob.uuid,
        blob.attempt,
        blob.size,
        Form(blob.form),
        blob.manifest_digest,
        tuple(layout.get("slots", ())),
        layout.get("k", 0),
        layout.get("m", 0),
        layout.get("code", 0),
    )


def _ignore(_damage: Damage) -> None:
    """Leave damage to those who look for it."""


def manifest_of(
    own: Runtime, array: Array, ref: BlobRef, on_damage: OnDamage = _ignore
) -> Manifest:
    """Return the verified manifest of a blob, from memory or from a member."""
    found = own.manifests.get(ref.manifest_digest)
    if found is None:
        found = load_manifest(array, ref, on_damage)
        own.manifests.put(found)
    return found
