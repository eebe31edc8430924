"""The manifests used last, in memory: most blobs are read more than once."""

import threading
from collections import OrderedDict

from raid.manifest import Manifest


class ManifestCache:
    """The manifests used last, bounded by what they weigh."""

    LIMIT = 16_384
    _ROWS_PER_KIB = 4

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Manifest] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> Manifest | None:
        """Return the manifest with this digest if it is kept."""
        with self._lock:
            found = self._kept.get(digest)
            if found is not None:
                self._kept.move_to_end(digest)
            return found

    def put(self, manifest: Manifest) -> None:
        """Keep a manifest, and let go of those not used for longest."""
        weight = _weight(manifest)
        if weight > self.LIMIT // 4:
            return
        with self._lock:
            if manifest.digest not in self._kept:
                self._weight += weight
            self._kept[manifest.digest] = manifest
            while self._weight > self.LIMIT:
                _, old = self._kept.popitem(last=False)
                self._weight -= _weight(old)


def _weight(manifest: Manifest) -> int:
    """Return the weight in rows; an inline kibibyte weighs as much as four."""
    return 4 + len(manifest.segments) + len(manifest.inline) // 256
