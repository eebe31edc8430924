"""Every byte survives each member in turn: the proof, in one command.

    python -m benchmarks.acceptance [--quick] [--dir FOLDER]

A real server over four members takes in the standard library of the running Python and
the system's documentation by `flask files import`, a part of them again through the
browser page, and random bytes over HTTP. Then each member is moved away while the
server runs, everything is downloaded and compared by SHA-256, new files are written,
and the member is put back and must be owed nothing. `--quick` takes a slice.
"""

import argparse
import hashlib
import os
import queue
import shutil
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import MIB, scratch
from support.client import Client
from support.site import Site, until

CONNECTIONS = 4
DOCUMENTATION = Path("/usr/share/doc")
ODD = [
    "a name with spaces ",
    " outer",
    "日本語 €.txt",
    "e\u0301 decomposed",
    'quote".txt',
    "100%41;x'y.txt",
    "back\\slash",
    "CON",
    "-rf",
    ".hidden",
    "🪸.txt",
    "عربى.txt",
    "<b>bold<b>.html",
    "x" * 255,
]
PASSWORD = "a quiet reef below the pier 53\n"
Expected = dict[str, tuple[str, int]]


class Acceptance:
    """One run: what was put in, and where it has to be found."""

    def __init__(self, site: Site, folder: Path, quick: bool) -> None:
        self.site, self.folder, self.quick = site, folder, quick
        create = ("user", "create", "keeper", "--admin", "--password-stdin")
        site.server.flask(*create, input=PASSWORD)
        self.person = site.client().login("keeper", PASSWORD.strip())
        self.root = self.person.root()
        self.files: Expected = {}
        self.lines: list[tuple[str, ...]] = []

    # -- putting in

    def fill(self) -> None:
        """Import both trees, drop some through the browser, send random bytes."""
        trees = [("stdlib", _library()), ("doc", DOCUMENTATION), ("odd", self._odd())]
        for name, source in trees:
            self._import(name, source)
        self._browser()
        size = 16 * MIB if self.quick else 1024 * MIB
        self._random("random.bin", size)

    def _import(self, name: str, source: Path) -> None:
        source = self._slice(name, source)
        begun = time.monotonic()
        self.site.server.flask(
            "files", "import", str(source), "--user", "keeper", "--into", name
        )
        expected = _tree(source)
        top = next(row["id"] for row in self.person.rows() if row["name"] == name)
        found = files_below(self.person, top)
        missing = set(expected) - set(found)
        if missing:
            raise SystemExit(
                f"{len(missing)} files of {source} are not there: {sorted(missing)[:5]}"
            )
        for path, row in expected.items():
            self.files[found[path]] = row
        self._say(f"flask files import {name}", len(expected), begun)

    def _slice(self, name: str, source: Path) -> Path:
        """The tree itself, or with --quick a few dozen files of it."""
        target = self.folder / "slice" / name
        if not self.quick and name == "stdlib":
            # What was installed beside the standard library is none of it.
            apart = shutil.ignore_patterns("site-packages")
            return Path(shutil.copytree(source, target, symlinks=True, ignore=apart))
        if not self.quick or name == "odd":
            return source
        kept = sorted(path for path in source.rglob("*") if _is_plain(path))
        for path in kept[:: max(1, len(kept) // 15)]:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return target

    def _odd(self) -> Path:
        """Names in every script, sizes around every boundary."""
        place = self.folder / "odd-source"
        place.mkdir()
        for number, name in enumerate(ODD):
            (place / name).write_bytes(os.urandom(number * 9_973))
        for size in (0, 1, 65_536, 65_537, 262_144, 786_431, 786_433, 25_165_825):
            (place / f"{size} bytes").write_bytes(os.urandom(size))
        return place

    def _browser(self) -> None:
        begun = time.monotonic()
        source = _library() / "json"
        paths = [path for path in sorted(source.glob("*.py")) if path.is_file()]
        paths += sorted(_library().glob("d*.py"))
        folder = self.person.folder(self.root, "by the page")
        if not _upload_by_page(self.site, self.person, folder, paths):
            self.lines.append(("through the browser page", "no Chromium", "", ""))
            return
        found = {row["name"]: row["id"] for row in self.person.rows(folder)}
        for path in paths:
            self.files[found[path.name]] = _digest(path)
        self._say("through the browser page", len(paths), begun)

    def _random(self, name: str, size: int) -> None:
        begun, seen = time.monotonic(), hashlib.sha256()

        def body() -> Iterator[bytes]:
            for _ in range(size // MIB):
                piece = os.urandom(MIB)
                seen.update(piece)
                yield piece

        answer = self.person.put(self.root, name, body(), Content_Length=str(size))
        self.files[answer.expect(201).json["id"]] = (seen.hexdigest(), size)
        if size > 100 * MIB or self.quick:
            self._say(f"{size // MIB} MiB of random bytes over HTTP", 1, begun)

    # -- losing members

    def lose(self, slot: int) -> bool:
        """Move one member away, compare everything, write, put it back, wait."""
        member = self.site.members[slot]
        aside = member.with_name(f"{member.name}.away")
        member.rename(aside)
        begun = time.monotonic()
        wrong = self.compare()
        seconds = time.monotonic() - begun
        for size in (0, 40_000, 900_000, 30_000_000):
            body = os.urandom(size)
            answer = self.person.put(self.root, f"without {slot}, {size}", body)
            row = (hashlib.sha256(body).hexdigest(), size)
            self.files[answer.expect(201).json["id"]] = row
        if member.exists():
            raise SystemExit(f"d{slot} was written to while it was away")
        owed = self.site.owed()
        aside.rename(member)
        begun = time.monotonic()
        until(lambda: self.whole(), 600, 0.5, "every debt is paid")
        paid = time.monotonic() - begun
        self.lines.append(
            (
                f"d{slot} away: {len(self.files) - 4} files compared",
                f"{len(wrong)} wrong",
                f"{seconds:.1f} s",
                f"{owed} owed, paid in {paid:.1f} s",
            )
        )
        for entry, reason in wrong[:5]:
            print(f"  wrong: {entry}: {reason}", file=sys.stderr)
        return not wrong

    def whole(self) -> bool:
        """Tell whether every member is in sync and nothing is owed."""
        if self.site.owed():
            return False
        status = self.site.status()
        return {member["state"] for member in status["members"]} == {"in_sync"}

    def compare(self) -> list[tuple[str, str]]:
        """Download everything over several connections; what differs."""
        work: queue.SimpleQueue[str] = queue.SimpleQueue()
        for entry in self.files:
            work.put(entry)
        wrong: list[tuple[str, str]] = []
        threads = [
            threading.Thread(target=self._check, args=(self.person.twin(), work, wrong))
            for _ in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return wrong

    def _check(
        self,
        person: Client,
        work: "queue.SimpleQueue[str]",
        wrong: list[tuple[str, str]],
    ) -> None:
        while True:
            try:
                entry = work.get_nowait()
            except queue.Empty:
                return
            try:
                got = person.digest(entry)
            except (AssertionError, OSError) as error:
                wrong.append((entry, str(error)))
                person.close()
                continue
            if got != self.files[entry]:
                wrong.append((entry, f"{got}, not {self.files[entry]}"))

    # -- saying

    def _say(self, what: str, files: int, begun: float) -> None:
        seconds = time.monotonic() - begun
        self.lines.append((what, f"{files} files", f"{seconds:.1f} s", ""))

    def table(self) -> None:
        """Print what was done."""
        total = sum(size for _, size in self.files.values())
        widths = [max(len(line[n]) for line in self.lines) for n in range(4)]
        for line in self.lines:
            cells = zip(line, widths, strict=True)
            print("  ".join(text.ljust(width) for text, width in cells).rstrip())
        print(f"{len(self.files)} files, {total / MIB:.0f} MiB")


def files_below(person: Client, folder: str) -> dict[str, str]:
    """Every file below a folder, by relative path, as the pages show it."""
    found, waiting = {}, [("", folder)]
    while waiting:
        prefix, place = waiting.pop()
        for row in person.rows(place):
            path = f"{prefix}{row['name']}"
            if row["kind"] == "folder":
                waiting.append((f"{path}/", row["id"]))
            else:
                found[path] = row["id"]
    return found


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _tree(source: Path) -> Expected:
    """Digest and size of every regular file of a tree, by its path as NFC."""
    import unicodedata

    return {
        unicodedata.normalize("NFC", str(path.relative_to(source))): _digest(path)
        for path in source.rglob("*")
        if _is_plain(path)
    }


def _upload_by_page(site: Site, person: Client, folder: str, paths: list[Path]) -> bool:
    """Choose the files in a real browser; False when there is none."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        return False
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies(
            [
                {"name": name, "value": value, "url": site.url}
                for name, value in person.cookies.items()
            ]
        )
        page = context.new_page()
        page.goto(f"{site.url}/files/folder/{folder}")
        page.set_input_files("input[type=file]", [str(path) for path in paths])
        until(lambda: len(person.rows(folder)) == len(paths), 120, 0.5, "the uploads")
        browser.close()
    return True


def main() -> int:
    """Run it; 0 only if all is equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a slice, for the gate")
    parser.add_argument("--dir", default=None)
    options = parser.parse_args()
    with scratch(options.dir) as folder, Site(folder) as site:
        run = Acceptance(site, folder, options.quick)
        run.fill()
        equal = [run.lose(slot) for slot in range(4)]
        equal.append(not run.compare())
        run.table()
    if not all(equal):
        print("Not all equal", file=sys.stderr)
        return 1
    print("All equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
