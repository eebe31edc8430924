"""Give a member the objects that its slot should hold, one after the other, fast."""

from raid import repair
from raid.array import Array
from raid.errors import ObjectExists, ObjectMissing
from raid.holdings import Holding, holdings
from raid.manifest import Manifest


class Filler:
    """Fill the member in a slot of `target` from what the members of `source` have.

    They are one array when the member sits in its slot already, and everything is made
    from the others. Otherwise the member that has the slot in `source` is read first.
    """

    def __init__(self, source: Array, target: Array, slot: int) -> None:
        self._source = source
        self._target = target
        self._slot = slot
        self._copies = source is not target

    def has(self, holding: Holding) -> bool:
        """Tell whether an object is there with its right length; nothing is read.

        Objects are published whole, so only a bad disk makes that wrong, and finding
        such a thing is the scrub's.
        """
        try:
            with self._target.using(self._slot) as member:
                return member.info(holding.key).size == holding.length
        except ObjectMissing:
            return False

    def give(self, manifest: Manifest, holding: Holding) -> None:
        """Make an object, verified, and store it."""
        if holding.segment is None or holding.role is None:
            repair.put_manifest(self._target, self._slot, manifest)
            return
        where = (manifest, holding.segment, holding.role)
        parts = repair.made_parts(self._source, *where, self._copies)
        try:
            with self._target.using(self._slot, write=True) as member:
                member.put(holding.key, parts)
        except ObjectExists:
            source = self._source if self._copies else None
            repair.put_shard(self._target, self._slot, *where, source=source)

    def give_all(self, manifest: Manifest) -> list[str]:
        """Give what is lacking of a blob, and return the keys of that."""
        given = []
        for holding in holdings(manifest, self._slot):
            if not self.has(holding):
                self.give(manifest, holding)
                given.append(holding.key)
        return given
