"""docs/operations.md: every recipe is run as it stands there, on an array in trouble.

A recipe is a block marked `sh NAME`. It runs in a shell, line by line and stopping at
the first command that fails, beside a worker, on real files over four members. Then
every file reads the same as before. A soak runs all of them on a tree of thousands of
files: Python's own library.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import database
from support.soak import FACTOR, drawn

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
RECIPES = dict(re.findall(r"^```sh ([\w-]+)\n(.*?)^```$", PAGE, re.M | re.S))
WHOLE = FACTOR > 1
PATIENCE = 1800.0 if WHOLE else 60.0
SIZES = (0, 11, 5_000, 70_000, 300_000, 1_200_000, 10_000_000)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def make_source(folder: Path) -> None:
    """Make the files of a company: few in the gate, thousands of them in a soak."""
    folder.mkdir()
    for size in SIZES:
        (folder / f"{size}.bin").write_bytes(os.urandom(size))
    if WHOLE:
        library = Path(sysconfig.get_paths()["stdlib"])
        apart = shutil.ignore_patterns("site-packages", "__pycache__")
        shutil.copytree(library, folder / "library", ignore=apart)


@dataclass
class Site:
    """A data folder with files of alice, and the processes over it."""

    folder: Path
    contents: dict[str, str] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=lambda: {"PACE": "100"})

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def member(self, slot: int) -> Path:
        return self.data / "members" / str(slot)

    def environ(self) -> dict[str, str]:
        """Return what an operator's shell has."""
        members = " ".join(f"file://{self.member(slot)}" for slot in range(4))
        ours = database.environment(self.data, **self.settings)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
        new = f"file://{self.folder / 'new'}"
        out = str(self.folder / "out")
        places = {"NEW": new, "OUT": out, "MEMBERS": members, "PATH": path}
        return clean | ours | places

    def sh(self, script: str) -> str:
        """Run lines as an operator types them; the first that fails is an error."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=ROOT,
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict:
        return json.loads(self.sh("flask array status --json"))

    def until(self, good: Callable[[dict], bool]) -> dict:
        """Wait until the worker has brought the array to where it should be."""
        end = time.monotonic() + PATIENCE
        while not good(found := self.status()):
            assert time.monotonic() < end, json.dumps(found, indent=1)
            time.sleep(0.3)
        return found

    def work(self) -> None:
        """Start a worker."""
        worker = subprocess.Popen(
            ["flask", "worker"],
            cwd=ROOT,
            env=self.environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.workers.append(worker)

    def rest(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(30)
        self.workers.clear()

    def fill(self) -> None:
        """Bring files in, as an operator would."""
        source = self.folder / "source"
        make_source(source)
        self.contents = digests(source)
        print(f"{len(self.contents)} files")
        self.sh(
            "pw='kelp grips 7 stones'\n"
            'flask user create root --admin --password-stdin <<< "$pw"\n'
            'flask user create alice --password-stdin <<< "$pw"\n'
            f"flask files import {source} --user alice --into /Ship\n"
        )

    def check(self) -> None:
        """Read every file back, as an operator would."""
        target = self.folder / f"back-{time.monotonic_ns()}"
        self.sh(f"flask files export /Ship {target} --user alice")
        self.compare(target)
        shutil.rmtree(target)

    def compare(self, target: Path) -> None:
        """Hold the folder that an operator got against what was put in."""
        found = digests(target)
        wrong = {
            name
            for name in found.keys() | self.contents
            if found.get(name) != self.contents.get(name)
        }
        assert not wrong, sorted(wrong)[:9]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that is copied for every recipe, since making one takes seconds."""
    site = Site(tmp_path_factory.mktemp("model"))
    site.data.mkdir()
    site.sh("python -m deploy.prepare")
    site.fill()
    return site


@pytest.fixture
def site(filled: Site, tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(filled.data, tmp_path / "data")
    made = Site(tmp_path, dict(filled.contents))
    yield made
    made.rest()


def clean(status: dict) -> bool:
    return status["state"] == "clean" and not any(
        member["owed"] for member in status["members"]
    )


def nothing(site: Site) -> None:
    """Leave all as it is."""


def gone(site: Site) -> None:
    shutil.rmtree(site.member(1))


def lies(site: Site) -> None:
    for path in (site.member(1) / "o").rglob("*"):
        if path.is_file():
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 4
            path.write_bytes(data)


def failed_by_hand(site: Site) -> None:
    site.sh("flask array fail 1")


def no_database(site: Site) -> None:
    for path in site.data.glob("holdfast.db*"):
        path.unlink()


TROUBLES = {
    "every-month": nothing,
    "slow": nothing,
    "full": nothing,
    "lies": lies,
    "gone": gone,
    "came-back": failed_by_hand,
    "spare": nothing,
    "reshape": nothing,
}


@pytest.mark.parametrize("name", drawn(TROUBLES, 2))
def test_a_recipe_mends_what_it_says(site: Site, name: str) -> None:
    """Some of them in the gate, drawn anew each time; all of them in a soak."""
    TROUBLES[name](site)
    site.work()
    site.sh(RECIPES[name])
    site.until(clean)
    site.check()


def test_with_too_many_away_nothing_is_done_but_waiting(site: Site) -> None:
    for slot in (0, 1):
        site.member(slot).rename(site.folder / f"away-{slot}")
    site.work()
    site.sh(RECIPES["failed"])
    assert site.until(lambda found: found["state"] == "failed")
    (site.folder / "away-1").rename(site.member(1))
    site.until(lambda found: found["state"] == "degraded")
    site.check()
    (site.folder / "away-0").rename(site.member(0))
    site.until(clean)
    site.check()


def test_a_lost_database_comes_back(site: Site) -> None:
    site.sh("flask worker --once")
    no_database(site)
    site.sh(RECIPES["database-gone"])
    site.work()
    site.until(clean)
    site.check()


def test_an_old_backup_is_merged_with_what_the_members_know(site: Site) -> None:
    site.sh("flask worker --once")
    backup = site.folder / "backup.db"
    shutil.copy(site.data / "holdfast.db", backup)
    (site.folder / "late").mkdir()
    (site.folder / "late" / "late.bin").write_bytes(b"late" * 50_000)
    site.contents |= digests(site.folder / "late")
    site.sh(f"flask files import {site.folder / 'late'} --user alice --into /Ship")
    site.sh("flask worker --once")
    no_database(site)
    shutil.copy(backup, site.data / "holdfast.db")
    site.work()
    site.until(lambda found: found["state"] == "readonly")
    site.sh(RECIPES["old-backup"])
    site.until(clean)
    site.check()


def test_files_come_back_from_the_members_alone(site: Site) -> None:
    site.sh("flask worker --once")
    no_database(site)
    shutil.rmtree(site.member(2))
    site.sh(RECIPES["only-members"])
    (ship,) = (site.folder / "out").rglob("Ship")
    site.compare(ship)


def test_every_recipe_is_run_here() -> None:
    elsewhere = {"failed", "database-gone", "old-backup", "only-members"}
    assert RECIPES.keys() == TROUBLES.keys() | elsewhere
