"""A journal written entry by entry onto members in memory, or forged on one of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from raid.journal import NO_HASH, Entry, EntryFlag, hash_of
from raid.keys import journal_key
from raid.member import Member
from storage.journal.lines import Change, encode

Line = tuple[str, str, dict[str, Any] | None]


@dataclass
class Writer:
    """Writes a chain; what was written stays in `entries`, by number."""

    array: UUID
    members: Sequence[Member]
    incarnation: int = 1
    entries: dict[int, Entry] = field(default_factory=dict)
    now: int = 1_000_000

    def write(
        self, *lines: Line, on: Iterable[int] | None = None, **flags: bool
    ) -> Entry:
        """Write the next entry onto all members, or onto some."""
        number = max(self.entries, default=0) + 1
        entry = self.make(number, self.hash(number - 1), lines, **flags)
        self.entries[number] = entry
        slots = range(len(self.members)) if on is None else on
        for slot in slots:
            self.put(slot, entry)
        return entry

    def make(
        self, number: int, previous: bytes, lines: Iterable[Line], **flags: bool
    ) -> Entry:
        """Return a sealed entry that says something."""
        self.now += 1
        (body,) = encode(Change(*line) for line in lines)
        said = EntryFlag.NONE
        for name, value in flags.items():
            said |= EntryFlag[name.upper()] if value else EntryFlag.NONE
        return Entry(
            self.array, self.incarnation, number, self.now, previous, said, body
        )

    def hash(self, number: int) -> bytes:
        """Return the hash of an entry that was written."""
        return hash_of(self.entries[number].pack()) if number else NO_HASH

    def put(self, slot: int, entry: Entry) -> None:
        """Give a member an entry, whatever it had under that name."""
        key = journal_key(entry.incarnation, entry.number)
        member = self.members[slot]
        member.put(key, [entry.pack()], essential=True, replace=True)

    def snapshot(self, *lines: Line, on: Iterable[int] | None = None) -> Entry:
        """Write a snapshot of one part."""
        return self.write(*lines, on=on, snapshot=True, first=True, last=True)
