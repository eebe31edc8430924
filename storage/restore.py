"""Write a plain tree from the members alone: no database, no Flask.

    python -m storage.restore --to DIR URL...

Names, moves and deletions come from the journal; what it does not name comes back as it
was described when it was uploaded. Nothing is written to a member. Every unit is
verified before it is written, and a file gets its name when it is whole.
"""

import argparse
import errno
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from raid.array import Array
from raid.errors import BlobDamaged, RaidError
from raid.health import Health
from raid.manifest import Manifest
from raid.reader import BlobRef, read
from storage.journal import reading
from storage.journal.catalogue import Catalogue
from storage.journal.items import Item, Items
from storage.journal.scene import NoMembers, Scene, look
from storage.members.urls import parse_member_url
from storage.plaintree import PlainTree, Wanted

THREADS = 16
_EVERY_SECONDS = 0.2
_POINTLESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""After these no other file can be written either."""


@dataclass
class Report:
    """What was done, and what could not be."""

    files: int = 0
    bytes: int = 0
    already: int = 0
    listed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def lines(self, dry: bool) -> Iterator[str]:
        """Yield the report for people."""
        yield from sorted(self.listed)
        yield from (f"Note: {note}" for note in self.notes)
        yield from (f"Another name: {line}" for line in self.renamed)
        yield from (f"NOT RESTORED: {line}" for line in self.failed)
        verb = "would be restored" if dry else "restored"
        yield (
            f"{self.files} files, {self.bytes} bytes {verb}; {self.already} were there "
            f"already; {len(self.failed)} could not be restored."
        )


class Restorer:
    """One run over the members; `tree` is None for a dry run."""

    def __init__(
        self,
        scene: Scene,
        tree: PlainTree | None,
        progress: Callable[[str], None],
    ) -> None:
        self.report = Report()
        self._scene = scene
        self._tree = tree
        self._progress = progress

    def run(self) -> Report:
        """Restore everything that can be restored, and say what can't."""
        links = reading.read(self._scene)
        catalogue = Catalogue.of(reading.entries(self._scene, links))
        items = Items(self._scene, catalogue, links.head_us)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="member") as executor:
            array = self._scene.open(Health(time.monotonic), executor)
            self._make_folders(catalogue, items)
            for item in items.walk(executor):
                self._restore(array, item)
        self.report.notes = [*self._scene.notes, *links.notes, *items.notes]
        return self.report

    def _make_folders(self, catalogue: Catalogue, items: Items) -> None:
        for key, entry in catalogue.entries.items():
            path = items.paths.of(key)
            if entry["kind"] != 0:
                continue
            if len(path) > 1:
                self._note_name(path, str(entry["name"]))
            self._make_folder(path)

    def _make_folder(self, path: tuple[str, ...]) -> None:
        if self._tree is None:
            return
        try:
            self._tree.make_folder(path)
        except OSError as error:
            if error.errno in _POINTLESS:
                raise
            self.report.failed.append(f"{'/'.join(path)}/: {error.strerror or error}.")

    def _note_name(self, path: tuple[str, ...], raw: str) -> None:
        if path[-1] != raw:
            shown = "/".join(path)
            self.report.renamed.append(f"{raw!r} is written as {shown}.")

    def _restore(self, array: Array, item: Item) -> None:
        """Restore one file; whatever is wrong with it must not stop the others."""
        self._note_name(item.path, item.raw)
        manifest = item.manifest
        if manifest is None:
            self._fail(item, item.why)
        elif self._tree is None:
            self._list(item, manifest.size)
        else:
            self._write(self._tree, array, item, manifest)

    def _list(self, item: Item, size: int) -> None:
        if not item.complete:
            self._fail(item, "Too few of the members that are here hold its bytes.")
            return
        self.report.listed.append(f"{size:>15}  {item.shown}")
        self._count(item, size, item.path[-1])

    def _write(
        self, tree: PlainTree, array: Array, item: Item, manifest: Manifest
    ) -> None:
        wanted = Wanted(item.path[:-1], item.path[-1], manifest.size, item.time_us)
        try:
            written = tree.write(wanted, _content(array, manifest))
        except RaidError as error:
            self._fail(item, str(error))
        except OSError as error:
            if error.errno in _POINTLESS:
                raise
            self._fail(item, f"It could not be written: {error.strerror or error}.")
        else:
            self._count(item, manifest.size, written)

    def _count(self, item: Item, size: int, written: str | None) -> None:
        report = self.report
        if written is None:
            report.already += 1
            return
        if written != item.path[-1]:
            report.renamed.append(
                f"{item.shown} is written as {written}, because another file was there."
            )
        report.files += 1
        report.bytes += size
        self._progress(f"{report.files} files, {report.bytes} bytes: {item.shown}")

    def _fail(self, item: Item, why: str) -> None:
        self.report.failed.append(f"{item.shown} (owner {item.owner}): {why}")


def _content(array: Array, manifest: Manifest) -> Iterator[bytes]:
    """Yield the verified bytes of a blob, all of them or an error."""
    ref = BlobRef(
        manifest.blob,
        manifest.attempt,
        manifest.size,
        manifest.form,
        manifest.digest,
    )
    chunks = read(
        array, ref, 0, manifest.size, manifest=manifest, on_damage=lambda _: None
    )
    left = manifest.size
    for chunk in chunks:
        left -= len(chunk)
        yield chunk
    if left:
        raise BlobDamaged("Its bytes do not have the length that was described.")


class Progress:
    """One line on a terminal that is written over; nothing anywhere else."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = 0.0

    def __call__(self, text: str) -> None:
        """Show how far it is, a few times a second."""
        now = time.monotonic()
        if self._shown and now - self._last >= _EVERY_SECONDS:
            self._last = now
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m storage.restore",
        description="Write a plain tree from the members; needs no database.",
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the tree goes")
    parser.add_argument(
        "--dry-run", action="store_true", help="list what there is and write nothing"
    )
    parser.add_argument(
        "urls",
        nargs="+",
        metavar="URL",
        help="where the members are, such as file:///srv/d0 or s3://bucket/prefix; as "
        "many as there are",
    )
    parsed = parser.parse_args(argv)
    if parsed.to is None and not parsed.dry_run:
        parser.error("Say where the tree goes with --to DIR, or add --dry-run.")
    return parsed


def main(argv: Sequence[str] | None = None) -> int:
    """Restore; 0 when everything came back, 1 when something did not."""
    asked = _arguments(argv)
    try:
        places = {url: parse_member_url(url, Path.cwd()) for url in asked.urls}
        scene = look(places)
        report = _run(scene, None if asked.dry_run else asked.to)
    except (ValueError, RaidError, NoMembers, reading.Changed) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"The tree can't be written ({error.strerror or error}). What is there is "
            "whole. Make room or choose another folder, then run it again: it goes on "
            "where it ended.",
            file=sys.stderr,
        )
        return 2
    for line in report.lines(asked.dry_run):
        print(line)
    return 1 if report.failed else 0


def _run(scene: Scene, to: Path | None) -> Report:
    tree = None if to is None else PlainTree(to)
    progress = Progress()
    try:
        return Restorer(scene, tree, progress).run()
    finally:
        progress.end()
        if tree is not None:
            tree.close()


if __name__ == "__main__":
    sys.exit(main())
