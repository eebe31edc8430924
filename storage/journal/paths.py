"""Where the files of a catalogue belong in a plain tree.

    ann/Ship/a.txt              live, below the folder of the owner
    .trash/ann/old/b.txt        in the trash
    .recovered/ann/Ship/c.txt   neither live nor deleted

The name of a user begins with a letter or a digit, so the last two are nobody's.
"""

from storage.journal.catalogue import Catalogue, Row
from storage.plaintree import numbered, safe_name

TRASH = ".trash"
RECOVERED = ".recovered"
NOBODY = "_nobody"

Path = tuple[str, ...]


class Names:
    """The names that are taken in each folder of the tree to be."""

    def __init__(self) -> None:
        self._taken: dict[Path, dict[str, bool]] = {}

    def claim(self, folder: Path, raw: str, *, is_folder: bool) -> str:
        """Return a safe name of its own for an entry."""
        taken = self._taken.setdefault(folder, {})
        name, number = safe_name(raw), 1
        while name in taken:
            number += 1
            name = numbered(safe_name(raw), number)
        taken[name] = is_folder
        return name

    def share(self, folder: Path, raw: str) -> str:
        """Return the name of a folder that may be there already, for others, too."""
        taken = self._taken.setdefault(folder, {})
        name = safe_name(raw)
        return name if taken.get(name) else self.claim(folder, raw, is_folder=True)


class Paths:
    """The path of every entry of a catalogue, and of what it does not name."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._names = Names()
        self._known: dict[str, Path] = {}
        self._homes = self._make_homes()
        self._by_name = {
            str(user["name"]): self._homes[key] for key, user in catalogue.users.items()
        }
        for key in sorted(catalogue.entries, key=self._order):
            self._place(key)

    def of(self, key: str) -> Path:
        """Return the path of an entry, its own name included."""
        return self._known[key]

    def owner(self, entry: Row) -> str:
        """Return the name of an entry's owner as people know it."""
        user = self._catalogue.users.get(str(entry["owner_id"]))
        return str(user["name"]) if user else NOBODY

    def described(self, owner: str, folder: str, name: str, *, live: bool) -> Path:
        """Return the path of a file as it was described when it was uploaded."""
        path: Path = () if live else (RECOVERED,)
        for part in [self._home(owner), *filter(None, folder.split("/"))]:
            path = (*path, self._names.share(path, part))
        return (*path, self._names.claim(path, name, is_folder=False))

    def _make_homes(self) -> dict[str, str]:
        """Give every user a folder, and each another."""
        homes: dict[str, str] = {}
        for key, user in sorted(self._catalogue.users.items()):
            raw = str(user["name"])
            homes[key] = self._names.claim((), _home_name(raw), is_folder=True)
        return homes

    def _home(self, owner: str) -> str:
        return self._by_name.get(owner) or _home_name(owner or NOBODY)

    def _order(self, key: str) -> tuple[bool, str, str]:
        """Folders that keep their name come before those that have to be numbered."""
        entry = self._catalogue.entries[key]
        return safe_name(entry["name"]) != entry["name"], str(entry["created_at"]), key

    def _place(self, key: str) -> Path:
        """Walk up to what has a path, then give one to everything on the way down."""
        waiting: list[str] = []
        top: str | None = key
        while top is not None and top not in self._known and top not in waiting:
            waiting.append(top)
            parent = self._catalogue.entries[top]["parent_id"]
            top = parent if parent in self._catalogue.entries else None
        for one in reversed(waiting):
            self._known[one] = self._path(self._catalogue.entries[one])
        return self._known[key]

    def _path(self, entry: Row) -> Path:
        home = self._homes.get(str(entry["owner_id"]), NOBODY)
        above = self._known.get(str(entry["parent_id"]))
        if above is None:
            if entry["trashed_at"] is None and entry["parent_id"] is None:
                return (home,)
            above = (TRASH, home) if entry["trashed_at"] else (RECOVERED, home)
        is_folder = not entry["kind"]
        return (*above, self._names.claim(above, entry["name"], is_folder=is_folder))


def _home_name(raw: str) -> str:
    name = safe_name(raw)
    return f"_{name}" if name.startswith(".") else name
