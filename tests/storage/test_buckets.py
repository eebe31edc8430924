"""Arrays whose members are buckets on two servers, or buckets and folders in one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from storage import restore, services
from storage.errors import CannotCreate
from storage.journal import recovery
from support import jobs
from support.between import Answer, Between, between
from support.buckets import S3Server
from support.store import KIB, MIB, Store
from support.team import Team, export

pytestmark = [pytest.mark.sqlite, pytest.mark.usefixtures("calm", "credentials")]


@pytest.fixture
def ways(moto: S3Server, rclone: S3Server) -> Iterator[dict[str, Between]]:
    """What stands before each server."""
    with between(moto.endpoint) as first, between(rclone.endpoint) as second:
        yield {"moto": first, "rclone": second}


@pytest.fixture
def urls(
    ways: dict[str, Between], moto: S3Server, rclone: S3Server
) -> dict[str, list[str]]:
    """Two places at each provider, and two folders."""
    places = {"file": ["file:members/0", "file:members/1"]}
    for server in (moto, rclone):
        endpoint = ways[server.name].endpoint
        places[server.name] = [
            f"s3://{server.bucket()}/team?endpoint={endpoint}&weight={weight}"
            for weight in (1, 2)
        ]
    return places


def _store(app: Flask) -> Store:
    """Return the storage of an array that was just made."""
    services.ensure_array()
    return Store(app)


@pytest.mark.parametrize(
    "kinds", [("moto", "rclone"), ("file", "rclone")], ids="-".join
)
def test_an_array_lives_on_what_is_left_of_it(
    kinds: tuple[str, str],
    urls: dict[str, list[str]],
    ways: dict[str, Between],
    make_app: Callable[..., Flask],
) -> None:
    members = [url for kind in kinds for url in urls[kind]]
    app = make_app(members=False, ARRAY_MEMBERS=" ".join(members))
    with app.app_context():
        store = _store(app)
        assert store.status().state == "clean"
        for size in (0, 1000, 300 * KIB, 2 * MIB):
            store.put(size)
        store.check()
        # One bucket of the two at rclone does not answer any more.
        bucket = members[3].split("/")[2]
        denied = Answer(403, "AccessDenied")
        ways["rclone"].rules.append(lambda one: denied if bucket in one.path else None)
        store.check()
        store.put(300 * KIB)
        status = store.status()
        assert status.state == "degraded"
        assert status.members[3].observed == "access-denied"
        assert "denies access" in (status.members[3].problem or "")
        assert [member.total is None for member in status.members[2:]] == [True] * 2
        # It answers again: what it is owed is paid, and nothing is left over.
        ways["rclone"].rules.clear()
        store.status()
        jobs.debts_end(store)
        jobs.finish(store)
        assert store.status().state == "clean"
        assert store.debts() == []
        store.restart()
        assert store.status().state == "clean"
        store.check()


def test_a_plain_tree_comes_out_of_any_three(
    moto: S3Server, rclone: S3Server, make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    members = [moto.url(), rclone.url(), moto.url(), rclone.url()]
    app = make_app(members=False, ARRAY_MEMBERS=" ".join(members))
    with app.app_context():
        store = _store(app)
        for size in (1000, 300 * KIB):
            store.put(size)
        contents = sorted(store.contents.values())
    tree = tmp_path / "tree"
    assert restore.main(["--to", str(tree), *members[1:]]) == 0
    found = [path.read_bytes() for path in tree.rglob("a*.txt")]
    assert sorted(found) == contents


@pytest.mark.timeout(240)
def test_a_lost_database_comes_back_from_three_buckets(
    urls: dict[str, list[str]],
    ways: dict[str, Between],
    make_app: Callable[..., Flask],
) -> None:
    members = [*urls["moto"], *urls["rclone"]]
    app = make_app(members=False, ARRAY_MEMBERS=" ".join(members))
    with app.app_context():
        team = Team(_store(app))
        team.work()
        export(team.store)
        tree, accounts = team.tree(), team.accounts()
        team.lose_database()
        gone = members[0].split("/")[2]
        nothing = Answer(404, "NoSuchBucket")
        ways["moto"].rules.append(lambda one: nothing if gone in one.path else None)
        report = recovery.recover()
        assert any("slot 0 is missing" in line for line in report.lines)
        assert (team.tree(), team.accounts()) == (tree, accounts)


def test_a_bucket_is_a_member_once(
    urls: dict[str, list[str]], make_app: Callable[..., Flask]
) -> None:
    app = make_app(members=False)
    one, two = urls["moto"]
    with app.app_context(), pytest.raises(CannotCreate, match="twice"):
        services.create_array("raid1", [one, two, one.replace("weight=1", "weight=3")])


def test_a_bucket_that_is_in_use_becomes_no_member(
    urls: dict[str, list[str]], moto: S3Server, make_app: Callable[..., Flask]
) -> None:
    app = make_app(members=False)
    moto.client.put_object(
        Bucket=urls["moto"][1].split("/")[2], Key="team/holiday.jpg", Body=b"x"
    )
    with app.app_context(), pytest.raises(CannotCreate, match="choose an empty place"):
        services.create_array("raid1", urls["moto"])
