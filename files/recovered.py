"""The tree of a database that is rebuilt: every entry reachable, every counter right.

Rows come from the journal, from what this database alone knew, and from the members'
own descriptions; so they may contradict each other, and nothing of them is thrown away.
"""

from collections import defaultdict

from files.errors import BadName
from files.models import FILE, FOLDER, new_id
from files.names import check_name, numbered
from files.services import ROOT_NAME
from storage.errors import CannotRecover
from storage.journal.catalogue import Row
from storage.journal.merge import Stray, Target

RECOVERED = "Recovered"


class Arranger:
    """One rebuild of the tree in memory, before any row is written."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._rows = target.catalogue.entries
        self._users = target.catalogue.users
        self._roots: dict[int, str] = {}
        self._names: dict[str, dict[str, str]] = defaultdict(dict)

    def run(self) -> None:
        """Make one tree for each owner, put the strays in, and count."""
        self._choose_roots()
        self._mend_parents()
        self._open_circles()
        self._name_apart()
        for stray in self._target.strays:
            self._place(stray)
        self._derive()

    # -- one root for each owner, and everything below one

    def _choose_roots(self) -> None:
        """Keep the oldest root of each owner, and let it take over the others'."""
        merged: dict[str, str] = {}
        for key in sorted(self._rows, key=self._age):
            row = self._rows[key]
            if str(row["owner_id"]) not in self._users:
                row["owner_id"] = self._administrator()
            if row["parent_id"] is not None or row["trashed_at"] is not None:
                continue
            root = self._roots.setdefault(row["owner_id"], key)
            if root != key:
                merged[key] = root
        for key in merged:
            del self._rows[key]
        for row in self._rows.values():
            row["parent_id"] = merged.get(row["parent_id"], row["parent_id"])

    def _age(self, key: str) -> tuple[int, str]:
        return int(self._rows[key]["created_at"]), key

    def _root(self, owner: int) -> str:
        """Return an owner's top folder, made when there is none."""
        if owner not in self._roots:
            since = int(self._users[str(owner)]["created_at"])
            self._roots[owner] = self._add(owner, None, ROOT_NAME, since)
        return self._roots[owner]

    def _mend_parents(self) -> None:
        """Move to the top what hangs below nothing, or below another's folder."""
        for key, row in list(self._rows.items()):
            parent = self._rows.get(row["parent_id"])
            lost = parent is None or parent["kind"] != FOLDER
            if row["parent_id"] is None:
                continue
            if lost or (parent and parent["owner_id"] != row["owner_id"]):
                self._to_top(key)

    def _to_top(self, key: str) -> None:
        row = self._rows[key]
        row["parent_id"] = self._root(row["owner_id"])
        row["trashed_at"] = row["trashed_from"] = None
        self._note(f"{row['name']} of {self._owner(row)} lay in no folder, and is in "
                   "the top folder now.")  # fmt: skip

    def _open_circles(self) -> None:
        """Move to the top one folder of each that lie inside each other."""
        safe: set[str] = set()
        for key in list(self._rows):
            path: list[str] = []
            here: str | None = key
            while here is not None and here not in safe and here not in path:
                path.append(here)
                here = self._rows[here]["parent_id"]
            if here in path:
                self._to_top(str(here))
            safe.update(path)

    # -- names

    def _name_apart(self) -> None:
        """Number the younger of two entries that want one name in one folder."""
        for key in sorted(self._rows, key=self._age):
            row = self._rows[key]
            if row["parent_id"] is None:
                continue
            name = self._free(row["parent_id"], row["name"], row["kind"] == FOLDER)
            if name != row["name"]:
                self._note(
                    f"{row['name']} of {self._owner(row)} is now named {name}, because "
                    "another entry of its folder has that name."
                )
                row["name"] = name
            self._names[row["parent_id"]][name] = key

    def _free(self, folder: str, wanted: str, is_folder: bool) -> str:
        taken, name, number = self._names[folder], wanted, 1
        while name in taken:
            number += 1
            name = numbered(wanted, number, folder=is_folder)
        return name

    # -- what nothing names

    def _place(self, stray: Stray) -> None:
        """Give a stray blob a name: where it was uploaded to, or in *Recovered*."""
        owner = self._account(stray.owner)
        folders = [part for part in stray.folder.split("/") if part]
        live = stray.live and owner is not None
        if owner is None or not live:
            owner, folders = self._administrator(), [RECOVERED, stray.owner, *folders]
        folder = self._root(owner)
        for name in folders:
            folder = self._folder(owner, folder, _kept(name), stray.uploaded_us)
        name = self._free(folder, _kept(stray.name), is_folder=False)
        self._file(owner, folder, name, stray)
        why = stray.why or "The journal does not name it yet."
        if stray.live and not live:
            why = f"There is no account named {stray.owner}."
        path = "/".join([*folders, name])
        said = f"{path} of {self._users[str(owner)]['name']}: {why}"
        self._target.placed.append(said)

    def _account(self, name: str) -> int | None:
        for user in self._users.values():
            if user["name"] == name:
                return int(user["id"])
        return None

    def _administrator(self) -> int:
        admins = [
            int(user["id"])
            for user in self._users.values()
            if user["is_admin"] and user["disabled_at"] is None
        ]
        if not admins:
            raise CannotRecover(
                "There are files whose owner or fate is not sure. They go to an "
                "administrator, and there is none. Nothing was changed. Make one with "
                "flask user create NAME --admin, then run this again."
            )
        return min(admins)

    def _folder(self, owner: int, parent: str, name: str, time_us: int) -> str:
        """Return the folder of this name, made or numbered where it has to be."""
        known = self._names[parent].get(name)
        if known is not None and self._rows[known]["kind"] == FOLDER:
            return known
        return self._add(owner, parent, self._free(parent, name, True), time_us)

    def _add(self, owner: int, parent: str | None, name: str, time_us: int) -> str:
        key = new_id()
        self._rows[key] = _row(key, owner, parent, FOLDER, name, time_us)
        if parent is not None:
            self._names[parent][name] = key
        return key

    def _file(self, owner: int, folder: str, name: str, stray: Stray) -> None:
        key = new_id()
        row = _row(key, owner, folder, FILE, name, stray.uploaded_us)
        row |= {"size": stray.size, "blob_id": stray.blob}
        row["media_type"] = stray.media_type or None
        self._rows[key] = row
        self._names[folder][name] = key

    # -- what follows from the rest

    def _derive(self) -> None:
        """Set what no journal carries: counters and used bytes."""
        for row in self._rows.values():
            row["files"] = row["folders"] = row["bytes"] = 0
        for user in self._users.values():
            user["used_bytes"] = 0
        for row in self._rows.values():
            if row["kind"] == FILE:
                self._users[str(row["owner_id"])]["used_bytes"] += row["size"]
            above = self._rows.get(row["parent_id"])
            if above is not None:
                above["folders" if row["kind"] == FOLDER else "files"] += 1
                above["bytes"] += row["size"] if row["kind"] == FILE else 0

    def _owner(self, row: Row) -> str:
        return str(self._users[str(row["owner_id"])]["name"])

    def _note(self, sentence: str) -> None:
        self._target.notes.append(sentence)


def _row(
    key: str, owner: int, parent: str | None, kind: int, name: str, time_us: int
) -> Row:
    return {
        "id": key,
        "owner_id": owner,
        "parent_id": parent,
        "kind": kind,
        "name": name,
        "size": 0,
        "created_at": time_us,
        "changed_at": time_us,
        "blob_id": None,
        "media_type": None,
        "trashed_at": None,
        "trashed_from": None,
    }


def _kept(name: str) -> str:
    """Return a name that may be kept; what a member says may be anything."""
    try:
        return check_name(name)
    except BadName:
        return "unnamed"


def arrange(target: Target) -> None:
    """Make the rows of the entries whole; see the module's text."""
    Arranger(target).run()
