"""What the templates are given: plain values, with every address filled in."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Crumb:
    """One step of the way from the root; the last one is the page itself."""

    id: str
    name: str
    url: str


@dataclass(frozen=True)
class Row:
    """One line of a table; `size` is None for a folder, `url` its name's link."""

    id: str
    kind: str
    name: str
    size: int | None
    changed_at: datetime
    url: str
    details_url: str
    download_url: str | None


@dataclass(frozen=True)
class Folder:
    """The folder that a page is about; the root's name is "Files"."""

    id: str
    name: str
    url: str
    is_root: bool


@dataclass(frozen=True)
class FolderPage:
    """One page of a folder, and how to get to the others."""

    folder: Folder
    crumbs: list[Crumb]
    rows: list[Row]
    sort: str
    direction: str
    sort_urls: dict[str, str]
    next_url: str | None
    first_url: str | None
    files: int
    folders: int
    bytes: int


@dataclass(frozen=True)
class EntryPage:
    """Everything about one entry; the counts are of a folder's direct children."""

    entry: Row
    folder: Folder
    crumbs: list[Crumb]
    created_at: datetime
    media_type: str | None
    sha256: str | None
    verified_at: datetime | None
    damaged: bool
    at_risk: bool
    files: int
    folders: int
    bytes: int


@dataclass(frozen=True)
class ChooserPage:
    """Where to move the selection: the folders inside `folder`, a page at a time.

    A folder that is itself being moved is `blocked`: it can't be entered.
    """

    folder: Folder
    crumbs: list[Crumb]
    folders: list["ChoiceRow"]
    ids: list[str]
    names: list[str]
    next_url: str | None
    first_url: str | None


@dataclass(frozen=True)
class ChoiceRow:
    """A folder of the chooser."""

    id: str
    name: str
    url: str
    blocked: bool


@dataclass(frozen=True)
class TrashRow:
    """Something in the trash: where it was, and when it goes for good."""

    id: str
    kind: str
    name: str
    size: int | None
    trashed_at: datetime
    from_path: str | None
    days_left: int


@dataclass(frozen=True)
class TrashPage:
    """One page of the trash; `days` is how long things stay."""

    rows: list[TrashRow]
    next_url: str | None
    first_url: str | None
    days: float
    bytes: int


@dataclass(frozen=True)
class ConfirmPage:
    """What a purge would remove for good; `action` is where the confirmation goes."""

    names: list[str]
    ids: list[str]
    count: int
    whole_trash: bool
    action: str


@dataclass(frozen=True)
class Usage:
    """The room of a user; `quota` is None when there is no limit."""

    used: int
    quota: int | None
