"""The manifests used of late, in memory: most blobs are read more than once."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from raid.manifest import Manifest


class ManifestCache:
    """The manifests used of late, bounded by what they weigh.

    Who goes over many blobs once (a scrub, debts that are paid) leaves nothing behind:
    what nobody has used for `UNUSED_SECONDS` goes with the next one that comes.
    """

    LIMIT = 16_384
    UNUSED_SECONDS = 300.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: OrderedDict[bytes, tuple[Manifest, float]] = OrderedDict()
        self._weight = 0
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, digest: bytes) -> Manifest | None:
        """Return the manifest with this digest if it is kept."""
        with self._lock:
            found, _ = self._kept.pop(digest, (None, 0.0))
            if found is not None:
                self._kept[digest] = found, self._clock()
            return found

    def put(self, manifest: Manifest) -> None:
        """Keep a manifest, and let go of those not used for longest."""
        weight = _weight(manifest)
        if weight > self.LIMIT // 4:
            return
        with self._lock:
            if manifest.digest not in self._kept:
                self._weight += weight
            self._kept.pop(manifest.digest, None)
            self._kept[manifest.digest] = manifest, self._clock()
            self._let_go()

    def _let_go(self) -> None:
        """Drop from the front, where the oldest are; the lock is held."""
        long_ago = self._clock() - self.UNUSED_SECONDS
        while self._kept:
            digest, (manifest, used_at) = next(iter(self._kept.items()))
            if self._weight <= self.LIMIT and used_at >= long_ago:
                return
            del self._kept[digest]
            self._weight -= _weight(manifest)


def _weight(manifest: Manifest) -> int:
    """Return the weight in rows; an inline kibibyte weighs as much as four."""
    return 4 + len(manifest.segments) + len(manifest.inline) // 256
