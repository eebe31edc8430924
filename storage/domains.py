"""Which members share a fate: a disk, a file system, a bucket, an account, a region.

An array is as independent as its members are. Each scheme of member URLs has a small
function that says what its members hang on; `look` asks for it now and then, away from
any page, because a question to a sick disk may take long.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakKeyDictionary

from storage import words
from storage.runtime import Runtime

LOOK_SECONDS = 60.0
_SYSTEM = Path("/sys/dev/block")
_AMAZON = "s3.amazonaws.com"


@dataclass(frozen=True)
class Domain:
    """Something that takes all with it that hang on it; `name` is for people."""

    kind: str
    key: str
    name: str = ""


@dataclass(frozen=True)
class Shared:
    """Members that share a domain; it is `grave` when more hang on it than may go."""

    kind: str
    name: str
    slots: tuple[int, ...]
    grave: bool

    @property
    def sentence(self) -> str:
        """Return the warning as a sentence or two."""
        return words.shared(self.kind, self.name, self.slots, grave=self.grave)


# The narrowest first: who shares a disk shares a file system's fate already.
KINDS = ("disk", "file system", "bucket", "account", "region", "provider")


def _folder(url: str, base: Path) -> list[Domain]:
    path = base / unquote(urlsplit(url).path)
    device = path.stat().st_dev
    found = [Domain("file system", f"{os.major(device)}:{os.minor(device)}")]
    found += [Domain("disk", name, name) for name in disks(device)]
    return found


def disks(device: int, system: Path = _SYSTEM) -> list[str]:
    """Return the disks below a device number; none where the system does not tell.

    A partition lies in its disk, and what is put together (RAID, LVM, encryption)
    names its parts as slaves.
    """
    place = system / f"{os.major(device)}:{os.minor(device)}"
    if not place.exists():
        return []
    return sorted(_parents(place.resolve()))


def _parents(place: Path) -> set[str]:
    slaves = place / "slaves"
    below = list(slaves.iterdir()) if slaves.is_dir() else []
    if below:
        return set().union(*(_parents(one.resolve()) for one in below))
    return {place.parent.name if (place / "partition").exists() else place.name}


def _bucket(url: str, base: Path) -> list[Domain]:  # noqa: ARG001
    parts = urlsplit(url)
    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    provider = urlsplit(said.get("endpoint", "")).netloc or _AMAZON
    owner = said.get("owner")
    # Who signs with the same credentials is taken for the same account.
    account = owner or f"profile {said.get('profile', 'default')}"
    region = said.get("region", "")
    found = [
        Domain("bucket", f"{provider} {parts.netloc}", parts.netloc),
        Domain("account", f"{provider} {account}", owner or ""),
        Domain("provider", provider, provider),
    ]
    return [*found, Domain("region", f"{provider} {region}", region)]


_READERS: dict[str, Callable[[str, Path], list[Domain]]] = {
    "file": _folder,
    "s3": _bucket,
}


def of(url: str, base: Path) -> list[Domain]:
    """Return what the member of a URL hangs on; nothing where it can't be told."""
    reader = _READERS.get(urlsplit(url).scheme)
    try:
        return reader(url, base) if reader else []
    except OSError:
        return []


def shared(found: Mapping[int, Iterable[Domain]], survives: int) -> list[Shared]:
    """Return a warning for every domain that members share, the narrowest only."""
    by_domain: dict[tuple[str, str], list[int]] = {}
    names = {}
    for slot, domains in found.items():
        for domain in domains:
            by_domain.setdefault((domain.kind, domain.key), []).append(slot)
            names[domain.kind, domain.key] = domain.name
    told: set[tuple[int, ...]] = set()
    warnings = []
    for kind, key in sorted(by_domain, key=lambda one: (KINDS.index(one[0]), one[1])):
        slots = tuple(sorted(by_domain[kind, key]))
        if len(slots) > 1 and slots not in told:
            told.add(slots)
            grave = len(slots) > survives
            warnings.append(Shared(kind, names[kind, key], slots, grave))
    return warnings


@dataclass
class _Seen:
    """What the members hang on, by slot and url, and when it was asked last."""

    domains: dict[tuple[int, str], list[Domain]]
    at: float


_seen: WeakKeyDictionary[Runtime, _Seen] = WeakKeyDictionary()


def look(own: Runtime) -> None:
    """Ask what the members hang on, when it is time or when they are others."""
    seen = own.snapshot()
    if seen is None:
        return
    wanted = [
        (one.slot, seen.urls.get(one.slot, one.url))
        for one in seen.map.slots
        if one.slot not in seen.away
    ]
    known = _seen.get(own) or _Seen({}, float("-inf"))
    now = time.monotonic()
    if now - known.at < LOOK_SECONDS and set(wanted) <= set(known.domains):
        return
    base = own.settings.data_dir
    fresh = {(slot, url): of(url, base) for slot, url in wanted}
    # What is away hangs on what it hung on when it was seen last.
    slots = {slot for slot, _ in fresh}
    kept = {key: value for key, value in known.domains.items() if key[0] not in slots}
    _seen[own] = _Seen({**kept, **fresh}, now)


def warnings(own: Runtime) -> list[Shared]:
    """Return what was found at the last look; no member is asked."""
    seen, snapshot = _seen.get(own), own.snapshot()
    if seen is None or snapshot is None:
        return []
    slots = {one.slot for one in snapshot.map.slots}
    found = {slot: some for (slot, _), some in seen.domains.items() if slot in slots}
    return shared(found, snapshot.map.shape.m)
