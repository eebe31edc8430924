"""The commands that recover from buckets alone, as an operator types them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
from flask import Flask

from storage import services
from storage.db import db
from support import jobs
from support.buckets import CREDENTIALS, S3Server
from support.database import environment
from support.store import Store
from support.team import Team, Tree, export

pytestmark = [
    pytest.mark.sqlite,
    pytest.mark.usefixtures("calm", "credentials"),
]

ROOT = Path(__file__).parents[2]


@dataclass
class Buckets:
    """A team's files over four buckets of two providers, and what is theirs."""

    team: Team
    urls: list[str]
    folder: Path

    def run(self, *command: str) -> str:
        """Run a command in a process of its own, with the settings of the site."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        ours = environment(self.folder, ARRAY_MEMBERS=" ".join(self.urls))
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=clean | CREDENTIALS | ours,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def site(
    moto: S3Server, rclone: S3Server, make_app: Callable[..., Flask], tmp_path: Path
) -> Buckets:
    """Buckets with the work of a team, all of it in the journal."""
    urls = [moto.url(), rclone.url(), moto.url(), rclone.url()]
    app = make_app(members=False, ARRAY_MEMBERS=" ".join(urls))
    with app.app_context():
        services.ensure_array()
        team = Team(Store(app))
        team.work()
        export(team.store)
    return Buckets(team, urls, tmp_path)


def _plain(folder: Path) -> set[tuple[int, str]]:
    """Return size and SHA-256 of every file of a plain tree."""
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return {(len(data), hashlib.sha256(data).hexdigest()) for data in found}


def _files(tree: Tree) -> set[tuple[int, str]]:
    return {said for said in tree.values() if said is not None}


@pytest.mark.timeout(300)
def test_a_plain_tree_comes_out_of_any_k_buckets(site: Buckets) -> None:
    with site.team.app.app_context():
        wanted = _files(site.team.tree())
    for number, some in enumerate(combinations(site.urls, 3)):
        to = site.folder / f"tree{number}"
        said = site.run("storage.restore", "--to", str(to), *some)
        assert "0 could not be restored" in said
        assert _plain(to) == wanted
        assert (to / "ann" / "Ship" / "after (ümläut).txt").is_file()
    assert number == 3


@pytest.mark.timeout(300)
def test_the_database_comes_back_with_a_bucket_gone(
    site: Buckets, moto: S3Server
) -> None:
    """Both are deleted: the file of the database, and a bucket with all that it has."""
    team = site.team
    with team.app.app_context():
        tree, accounts = team.tree(), team.accounts()
        team.store.runtime.close()
        db.session.remove()
        db.engine.dispose()
        team.app.extensions["holdfast_runtime"] = None
    for path in site.folder.glob("holdfast.db*"):
        path.unlink()
    _delete_bucket(moto, site.urls[0])
    told = site.run("flask", "array", "recover", "--dry-run")
    assert "slot 0 is missing" in told and "DAMAGED" not in told
    done = site.run("flask", "array", "recover")
    assert done.splitlines()[:-1] == told.splitlines()[:-1]
    status = site.run("flask", "array", "status")
    assert status.startswith("Degraded.") and "no such bucket" in status
    with team.app.app_context():
        assert (team.tree(), team.accounts()) == (tree, accounts)
        team.store.settle()
        jobs.finish(team.store)
        assert [*team.store.states()][1:] == ["in_sync"] * 3
        assert team.tree() == tree


def _delete_bucket(server: S3Server, url: str) -> None:
    name, client = url.split("/")[2], server.client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for one in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=one["Key"])
    client.delete_bucket(Bucket=name)
