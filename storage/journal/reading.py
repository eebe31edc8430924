"""Read the journal off several members, of which one may be missing and one may lie.

Every entry holds the hash of the one before it. So whoever knows the newest entry knows
them all, and a member that offers other bytes anywhere below it offers what nobody asks
for. Only the newest entry has to be voted for, and one member alone has no say in that.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from raid.errors import DamagedObject, MemberError, UnknownVersion
from raid.journal import MAX_LENGTH, Entry, EntryFlag, hash_of
from raid.keys import JOURNAL, journal_key, parse_journal_key
from storage.journal.scene import Scene

_MOST_NUMBER = 1 << 62


@dataclass(frozen=True)
class Link:
    """An entry of the chain, and a member that has it."""

    number: int
    hash: bytes
    previous: bytes
    time_us: int
    flags: EntryFlag
    slot: int

    @property
    def snapshot(self) -> bool:
        """Tell whether this is a part of a snapshot."""
        return EntryFlag.SNAPSHOT in self.flags


@dataclass(frozen=True)
class _Held:
    """An entry that is right in itself, as a member holds it."""

    entry: Entry
    hash: bytes
    slot: int

    def link(self) -> Link:
        """Return it without its body."""
        entry = self.entry
        return Link(
            entry.number,
            self.hash,
            entry.previous,
            entry.time_us,
            entry.flags,
            self.slot,
        )


@dataclass
class Chain:
    """The entries to apply, oldest first: a complete snapshot and what follows it.

    Without entries there is no journal to be used. `top` is the highest place, as
    incarnation and number, that any member has an entry at, believed or not.
    """

    incarnation: int = 0
    links: list[Link] = field(default_factory=list)
    top: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)

    @property
    def head(self) -> Link | None:
        """Return the newest entry that is used."""
        return self.links[-1] if self.links else None

    @property
    def head_us(self) -> int | None:
        """Return the time of the newest entry that is used."""
        return self.links[-1].time_us if self.links else None


def read(scene: Scene) -> Chain:
    """Return the newest chain that can be used, and say what can't be and why."""
    return _Reader(scene).read()


def entries(scene: Scene, chain: Chain) -> Iterator[Entry]:
    """Yield the entries of a chain, oldest first, each read and verified again."""
    reader = _Reader(scene)
    for link in chain.links:
        found = reader.seek(chain.incarnation, link.number, link.hash)
        if found is None:
            raise Changed(
                f"Entry {link.number} of the journal could be read a moment ago and "
                "can't be read now. Nothing was changed. Try again."
            )
        yield found.entry


class Changed(Exception):
    """A member changed while it was read; the message says what to do."""


class _Reader:
    """One look at the journal of all members."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._bad: dict[tuple[int, str], set[tuple[int, int]]] = defaultdict(set)
        self._notes: list[str] = []
        self._index: dict[int, dict[int, list[int]]] = {}

    def read(self) -> Chain:
        """Find the highest incarnation with a complete snapshot that is believed."""
        self._index = self._list()
        found = Chain()
        for incarnation in sorted(self._index, reverse=True):
            links = self._walk(incarnation)
            if links:
                found = Chain(incarnation, links)
                break
            self._notes.append(
                f"The journal of incarnation {incarnation} can't be used: no complete "
                f"snapshot of it is held by {_members(self._scene.enough)}."
            )
        if not found.links:
            self._notes.append(
                "There is no journal that can be used, so every file comes back under "
                "the name, folder and owner that it was uploaded with."
            )
        places = [(one, max(self._index[one])) for one in self._index]
        found.top = max(places, default=(0, 0))
        found.notes = self._notes + self._blame()
        return found

    def _list(self) -> dict[int, dict[int, list[int]]]:
        """Return who says to have which entry: incarnation -> number -> slots."""
        index: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for slot, place in sorted(self._scene.places.items()):
            try:
                for info in place.member.list(JOURNAL):
                    found = parse_journal_key(info.key)
                    if found is not None and max(found) < _MOST_NUMBER:
                        index[found[0]][found[1]].append(slot)
            except MemberError as error:
                self._notes.append(f"The journal on slot {slot} can't be read: {error}")
        return index

    # -- one incarnation

    def _walk(self, incarnation: int) -> list[Link]:
        """Return the links from the last complete snapshot on, oldest first.

        From the newest entry that is believed, down along the hashes.
        """
        run: list[Link] = []
        for number in sorted(self._index[incarnation], reverse=True):
            link = self._next(incarnation, number, run)
            if link is None:
                continue
            run.append(link)
            if usable := _from_snapshot(run):
                return usable
        if run:
            self._drop(run)
        return []

    def _next(self, incarnation: int, number: int, run: list[Link]) -> Link | None:
        """Return the entry that a run goes on with; a run that can't is emptied."""
        if run:
            wanted = run[-1].previous
            if number == run[-1].number - 1:
                found = self.seek(incarnation, number, wanted)
                if found is not None:
                    return found.link()
            self._drop(run)
        return self._head(incarnation, number)

    def _drop(self, run: list[Link]) -> None:
        newest, oldest = run[0].number, run[-1].number
        run.clear()
        if oldest > 1:
            self._notes.append(
                f"The entries {oldest} to {newest} of the journal can't be used, "
                f"because no member has the entry {oldest - 1} that they follow."
            )

    def _head(self, incarnation: int, number: int) -> Link | None:
        """Return what most members hold under a number, if they are enough."""
        enough = self._scene.enough
        holders: dict[bytes, list[_Held]] = defaultdict(list)
        slots = self._slots(incarnation, number)
        if len(slots) >= enough:
            for slot in slots:
                one = self._held(incarnation, number, slot)
                if one is not None:
                    holders[one.hash].append(one)

        def rank(held: list[_Held]) -> tuple[int, bool]:
            return len(held), self._follows(incarnation, number, held[0].entry)

        ranked = sorted(holders.values(), key=rank, reverse=True)
        if not ranked or len(ranked[0]) < enough:
            self._notes.append(
                f"Entry {number} of incarnation {incarnation} is not believed: fewer "
                f"than {_members(enough)} hold the same."
            )
            return None
        return ranked[0][0].link()

    def _follows(self, incarnation: int, number: int, entry: Entry) -> bool:
        """Tell whether somebody has the entry that this one is chained to."""
        if number == 1:
            return not any(entry.previous)
        return self.seek(incarnation, number - 1, entry.previous) is not None

    # -- one entry

    def seek(self, incarnation: int, number: int, wanted: bytes) -> _Held | None:
        """Return the entry with this hash from whoever has it."""
        for slot in self._slots(incarnation, number):
            one = self._held(incarnation, number, slot)
            if one is None:
                continue
            if one.hash == wanted:
                return one
            self._note(slot, (incarnation, number), "not what the next one follows")
        return None

    def _slots(self, incarnation: int, number: int) -> list[int]:
        if not self._index:
            return sorted(self._scene.places)
        return self._index.get(incarnation, {}).get(number, [])

    def _held(self, incarnation: int, number: int, slot: int) -> _Held | None:
        """Return what a member has under a number, if it is right in itself."""
        member = self._scene.places[slot].member
        place = (incarnation, number)
        try:
            data = member.read(journal_key(*place), 0, MAX_LENGTH + 1)
            entry = Entry.unpack(data)
        except MemberError:
            self._note(slot, place, "not readable")
        except UnknownVersion:
            self._note(slot, place, "of a newer release")
        except DamagedObject:
            self._note(slot, place, "damaged")
        else:
            if entry.array != self._scene.array:
                self._note(slot, place, "of another array")
            elif (entry.incarnation, entry.number) != place:
                self._note(slot, place, "under the name of another entry")
            else:
                return _Held(entry, hash_of(data), slot)
        return None

    def _note(self, slot: int, place: tuple[int, int], what: str) -> None:
        self._bad[slot, what].add(place)

    def _blame(self) -> list[str]:
        return [
            f"Slot {slot}: entries of the journal that are {what}: {len(places)}."
            for (slot, what), places in sorted(self._bad.items())
        ]


def _from_snapshot(run: list[Link]) -> list[Link]:
    """Return what can be applied of a run, oldest first, once it reaches a snapshot.

    The run is newest first. What is not whole at its end is left away: a snapshot
    without its last part, and an entry that goes on in one that is not there.
    """
    links = run[::-1]
    if not _is_base(links):
        return []
    while links and (EntryFlag.CONTINUES in links[-1].flags or _is_open(links)):
        links.pop()
    return links


def _is_base(links: list[Link]) -> bool:
    """Tell whether the links begin with a whole snapshot, or with the first entry."""
    if not links[0].snapshot:
        return links[0].number == 1
    if EntryFlag.FIRST not in links[0].flags:
        return False
    parts = takewhile(lambda link: link.snapshot, links)
    return any(EntryFlag.LAST in link.flags for link in parts)


def _is_open(links: list[Link]) -> bool:
    """Tell whether the newest link is part of a snapshot that does not end."""
    return links[-1].snapshot and EntryFlag.LAST not in links[-1].flags


def _members(count: int) -> str:
    return "one member" if count == 1 else f"{count} members"
