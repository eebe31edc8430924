"""The database is lost, and everything that the members know comes back."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from auth.models import User
from auth.services import create_user
from files import services, trash
from raid.keys import tombstone_key
from raid.superblock import Tombstone
from storage import services as arrays
from storage import watch
from storage.blobref import manifest_of, reference
from storage.db import transaction, utcnow
from storage.errors import CannotCreate, CannotRecover
from storage.jobs import reshape
from storage.journal import recovery, verdicts
from storage.members.calls import SystemCalls
from storage.models import ArrayRow, Blob, Debt, Event, Job, MemberRow, Upload
from support import database
from support.drive import check_books
from support.liars import LIES, Lie, corrupt_folder
from support.people import PASSWORD
from support.store import KIB, Store
from support.team import SIZES, Team, data_of, export


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Team]:
    """A data folder in which a team has worked, to be copied and left alone."""
    folder = tmp_path_factory.mktemp("team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "start", lambda own: None)
        patch.setattr(SystemCalls, "fsync", lambda self, fd: None)
        patch.setattr("raid.halves.HALF", 512 * KIB)
        app = database.application(folder, None, {})
        with app.app_context():
            made = Team(Store(app))
            made.work()
            export(made.store)
        database.close(app)
    return folder, made


@pytest.fixture
def team(
    request: pytest.FixtureRequest, database_kind: str, tmp_path: Path, calm: None
) -> Team:
    """A team over the database of this run, all of whose work is in the journal."""
    if database_kind == "sqlite":
        folder, done = request.getfixturevalue("model")
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        store: Store = request.getfixturevalue("store")
        return Team(store, dict(done.users), dict(done.folders))
    made = Team(request.getfixturevalue("store"))
    made.work()
    export(made.store)
    return made


def members(team: Team) -> list[dict[str, bytes]]:
    """Everything that lies on the members."""
    return [
        {
            str(path.relative_to(team.store.member(slot))): path.read_bytes()
            for path in team.store.member(slot).rglob("*")
            if path.is_file()
        }
        for slot in range(4)
    ]


def without_trouble(team: Team, tree: Any, accounts: Any) -> None:
    assert team.tree() == tree
    assert team.accounts() == accounts
    check_books(team.app)


# -- the database is gone


def test_everything_comes_back(team: Team) -> None:
    tree, accounts, before = team.tree(), team.accounts(), members(team)
    assert len(tree) > len(SIZES) + 8
    team.lose_database()
    report = recovery.recover()
    assert report.changes
    assert not report.damaged
    without_trouble(team, tree, accounts)
    assert members(team) == before


@pytest.mark.parametrize("slot", range(4))
@pytest.mark.sqlite
def test_a_member_may_be_missing(team: Team, slot: int) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    team.store.lose(slot)
    report = recovery.recover()
    assert any(f"slot {slot} is missing" in line for line in report.lines)
    without_trouble(team, tree, accounts)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.sqlite
def test_a_member_may_lie(team: Team, lie: Lie) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    corrupt_folder(team.store.member(2), lie)
    recovery.recover()
    without_trouble(team, tree, accounts)
    team.store.tick()
    team.put("ann/after.bin", data_of(300 * KIB))
    assert team.tree()["ann/after.bin"]


@pytest.mark.sqlite
def test_the_members_go_on_as_they_are(team: Team) -> None:
    uuids = {row.slot: row.uuid for row in team.store.rows(MemberRow)}
    row = team.store.array_row()
    event = row.incarnation, row.event
    team.lose_database()
    recovery.recover()
    found = team.store.rows(MemberRow)
    assert {row.slot: row.uuid for row in found} == uuids
    assert {(row.state, row.inventory_due) for row in found} == {("stale", True)}
    now = team.store.array_row()
    assert (now.incarnation, now.event) == (event[0] + 1, event[1] + 1)
    assert (now.journal_number, now.journal_hash, now.readonly) == (0, None, False)
    (noted,) = team.store.rows(Event)
    assert (noted.word, noted.fields["damaged"]) == ("array_recovered", 0)


@pytest.mark.sqlite
def test_uploads_go_on_after_it(team: Team) -> None:
    team.lose_database()
    recovery.recover()
    team.store.tick()
    assert "stale" not in team.store.states()
    team.put("ann/new.txt", data_of(77))
    assert team.tree()["ann/new.txt"] is not None
    check_books(team.app)


def test_new_accounts_get_numbers_of_their_own(team: Team) -> None:
    team.lose_database()
    recovery.recover()
    team.join("carol")
    assert team.users["carol"] > max(team.users[name] for name in ("ann", "bob"))


def test_twice_is_the_same(team: Team) -> None:
    tree, accounts = team.tree(), team.accounts()
    reports = []
    for _ in range(2):
        team.lose_database()
        reports.append(recovery.recover().lines)
        without_trouble(team, tree, accounts)
    assert reports[0] == reports[1]


@pytest.mark.sqlite
def test_a_second_run_says_that_there_is_nothing_to_do(team: Team) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    recovery.recover()
    again = recovery.recover()
    assert not again.changes
    assert "nothing to recover" in again.lines[0]
    without_trouble(team, tree, accounts)


def test_a_dry_run_says_the_same_and_writes_nothing(team: Team) -> None:
    team.put("ann/late.txt", data_of(31))
    team.lose_database()
    before = team.save_database(), members(team)
    dry = recovery.recover(dry_run=True)
    assert (team.save_database(), members(team)) == before
    assert not any(before[0].values())
    assert recovery.recover().lines == dry.lines


def test_killed_before_the_end_it_is_run_again(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    empty = team.save_database()

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("storage.history.note", die)
        with pytest.raises(KeyboardInterrupt):
            recovery.recover()
    assert team.save_database() == empty
    recovery.recover()
    without_trouble(team, tree, accounts)


@pytest.mark.sqlite
def test_it_looks_where_it_is_told(team: Team, tmp_path: Path) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    team.store.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(CannotRecover, match="None of the places"):
        recovery.recover()
    urls = [f"file://{tmp_path}/elsewhere/{slot}" for slot in (2, 0, 3, 1)]
    recovery.recover(urls)
    assert {row.slot: row.url for row in team.store.rows(MemberRow)} == {
        2: urls[0], 0: urls[1], 3: urls[2], 1: urls[3],
    }  # fmt: skip
    without_trouble(team, tree, accounts)


# -- what the journal does not name


@pytest.mark.sqlite
def test_what_came_after_the_journal_is_where_it_was_uploaded(team: Team) -> None:
    team.folder("ann/New")
    team.put("ann/New/late.bin", data_of(300 * KIB))
    team.put("bob/late.txt", data_of(5))
    tree = team.tree()
    team.lose_database()
    report = recovery.recover()
    assert team.tree() == tree
    said = "Not named by the journal: New/late.bin of ann: The journal does not name"
    assert any(line.startswith(said) for line in report.lines)
    check_books(team.app)


@pytest.mark.sqlite
def test_what_replaced_a_file_stands_beside_it(team: Team) -> None:
    tree = team.tree()
    team.put("bob/twice.txt", data_of(18), replace=True)
    new = team.tree()["bob/twice.txt"]
    team.lose_database()
    recovery.recover()
    assert team.tree() == tree | {"bob/twice (2).txt": new}
    check_books(team.app)


@pytest.mark.sqlite
def test_what_is_older_and_unknown_goes_to_the_administrator(team: Team) -> None:
    tree = team.tree()
    stray = team.store.put(data_of(21))
    age_manifest(team, stray)
    team.lose_database()
    report = recovery.recover()
    found = team.tree()
    assert found.items() >= tree.items()
    more = found.keys() - tree.keys()
    assert "root/Recovered/alice/a.txt" in more
    assert any("It is older than the journal" in line for line in report.lines)
    check_books(team.app)


@pytest.mark.sqlite
@pytest.mark.parametrize("late_us", [verdicts.LATE_US, -verdicts.LATE_US])
@pytest.mark.parametrize("lost", [0, 1, 4])
def test_what_was_written_anew_after_the_journal_is_no_second_file(
    team: Team, monkeypatch: pytest.MonkeyPatch, late_us: int, lost: int
) -> None:
    """The journal names the old blob, which has these bytes if all of it is there."""
    monkeypatch.setattr(verdicts, "LATE_US", late_us)
    tree, own = team.tree(), team.store.runtime
    old = max(
        (row for row in team.store.rows(Blob) if row.sha256 and row.state == "live"),
        key=lambda row: row.size,
    )
    before = old.uuid
    new = reshape.rewrite(old, manifest_of(own, own.array(), reference(old)))
    for slot in range(lost):
        for path in team.store.paths(slot, before):
            path.unlink()
    team.lose_database()
    report = recovery.recover()
    live = {row.uuid for row in team.store.rows(Blob) if row.state == "live"}
    assert (before in live, new in live) == (True, lost > 0)
    assert any("written anew" in line for line in report.lines) == (not lost)
    if not lost:
        assert team.tree() == tree
    check_books(team.app)


def age_manifest(team: Team, blob: Blob) -> None:
    """Let a manifest tell of an upload long before the journal's head."""
    from raid.manifest import Manifest

    for slot in range(4):
        for path in team.store.paths(slot, blob.uuid):
            manifest = Manifest.unpack(path.read_bytes())
            said = replace(manifest.description, uploaded_us=1)
            aged = replace(manifest, description=said, stored=b"")
            path.write_bytes(aged.pack())


@pytest.mark.sqlite
def test_without_an_administrator_it_refuses_and_says_how_to_make_one(
    team: Team,
) -> None:
    with transaction() as session:
        session.execute(update(User).values(is_admin=False))
    export(team.store)
    age_manifest(team, team.store.put(data_of(21)))
    team.lose_database()
    with pytest.raises(CannotRecover, match="flask user create NAME --admin"):
        recovery.recover()
    create_user("chief", PASSWORD, admin=True)
    recovery.recover()
    assert "chief/Recovered/alice/a.txt" in team.tree()
    check_books(team.app)


def test_an_account_made_before_it_is_kept(team: Team) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    create_user("ann", PASSWORD)
    create_user("zoe", PASSWORD, admin=True)
    report = recovery.recover()
    assert team.tree().items() >= tree.items()
    found = team.accounts()
    assert found.items() >= accounts.items()
    assert found.keys() - accounts.keys() == {"ann-2", "zoe"}
    assert len({row[0] for row in found.values()}) == len(found)
    assert any("is now ann-2" in line for line in report.lines)
    check_books(team.app)


@pytest.mark.sqlite
def test_without_a_journal_every_file_is_where_it_was_uploaded(
    team: Team,
) -> None:
    for slot in range(4):
        shutil.rmtree(team.store.member(slot) / "c")
        (team.store.member(slot) / "c").mkdir()
    files = sorted(row for row in team.tree().values() if row)
    team.lose_database()
    with pytest.raises(CannotRecover, match="--admin"):
        recovery.recover()
    create_user("chief", PASSWORD, admin=True)
    recovery.recover()
    tree = team.tree()
    assert tree["chief/Recovered/ann/Ship/before"] == (11, tree_hash(11))
    # What was replaced or purged is not deleted on the members yet.
    assert set(files) <= {row for row in tree.values() if row}
    check_books(team.app)


def tree_hash(size: int) -> str:
    import hashlib

    return hashlib.sha256(data_of(size)).hexdigest()


# -- deleted stays deleted


@pytest.mark.sqlite
def test_what_was_let_go_of_is_purged_in_the_end(team: Team) -> None:
    tree, accounts = team.tree(), team.accounts()
    team.lose_database()
    recovery.recover()
    assert {row.state for row in team.store.rows(Blob)} == {"live", "tombstoned"}
    team.store.tick()
    team.purge_everything()
    assert {row.state for row in team.store.rows(Blob)} == {"live"}
    assert team.store.leftovers() == set()
    without_trouble(team, tree, accounts)


@pytest.mark.sqlite
def test_a_purge_that_the_journal_knows_begins_anew(team: Team) -> None:
    """Who owes a tombstone went with the database, so everybody owes it again."""
    tree = team.tree()
    past = utcnow() - timedelta(days=2)
    with transaction() as session:
        gone = update(Blob).where(Blob.state == "tombstoned")
        session.execute(gone.values(due_at=past))
    team.store.lose(3)
    team.store.tick()
    export(team.store)
    assert "purging" in {row.state for row in team.store.rows(Blob)}
    team.lose_database()
    team.store.bring_back(3)
    recovery.recover()
    assert "purging" not in {row.state for row in team.store.rows(Blob)}
    team.store.settle()
    assert team.store.leftovers() == set()
    assert {row.state for row in team.store.rows(Blob)} == {"live"}
    assert team.tree() == tree


@pytest.mark.parametrize("told", [1, 2, 4])
@pytest.mark.sqlite
def test_a_purge_that_had_begun_ends(team: Team, told: int) -> None:
    """With the tombstone on some members, and the row gone from the journal."""
    tree = team.tree()
    bury(team, team.store.put(data_of(300 * KIB)).uuid, range(told))
    team.lose_database()
    recovery.recover()
    found = team.tree()
    if told == 1:
        assert found.keys() - tree.keys() >= {"root/Recovered/alice/a.txt"}
        return
    assert found == tree
    team.store.tick()
    team.purge_everything()
    assert team.store.leftovers() == set()
    assert team.tree() == tree


def bury(team: Team, blob: UUID, slots: range) -> None:
    for slot in slots:
        stone = Tombstone(team.store.array_row().uuid, blob, 1, 1).pack()
        path = team.store.member(slot) / tombstone_key(blob)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(stone)


@pytest.mark.sqlite
def test_a_purge_after_the_last_export_stays_done(team: Team) -> None:
    tree = team.tree()
    bury(team, blob_of(team, 300 * KIB), range(2))
    team.lose_database()
    report = recovery.recover()
    del tree[f"ann/Ship/deep/{300 * KIB}.bin"]
    assert team.tree() == tree
    said = f"Note: {300 * KIB}.bin of ann was purged, and stays so."
    assert said in report.lines
    check_books(team.app)


@pytest.mark.sqlite
def test_what_nobody_has_is_listed_and_kept(team: Team) -> None:
    blob = blob_of(team, 7)
    for slot in range(4):
        for path in team.store.paths(slot, blob):
            path.unlink()
    team.lose_database()
    report = recovery.recover()
    assert report.damaged == 1
    assert "DAMAGED: 7.bin of ann: No member has anything of it." in report.lines
    (row,) = [row for row in team.store.rows(Blob) if row.damaged]
    assert row.uuid == blob
    check_books(team.app)


def blob_of(team: Team, size: int) -> UUID:
    return next(row.uuid for row in team.store.rows(Blob) if row.size == size)


@pytest.mark.sqlite
def test_with_too_many_members_away_nothing_is_called_damaged(team: Team) -> None:
    tree = team.tree()
    team.lose_database()
    for slot in (0, 1):
        team.store.lose(slot)
    report = recovery.recover()
    assert report.damaged
    assert not [row for row in team.store.rows(Blob) if row.damaged]
    for slot in (0, 1):
        team.store.bring_back(slot)
    team.store.restart()
    assert team.tree() == tree


# -- a database from an old backup


def test_an_old_backup_gets_what_came_after_it(team: Team) -> None:
    saved = team.save_database()
    team.put("ann/later.txt", data_of(41))
    services.rename(team.users["bob"], team.put("bob/x", data_of(42)), "y")
    team.join("carol")
    team.put("carol/hers.txt", data_of(43))
    gone = team.put("ann/short.txt", data_of(44))
    trash.trash(team.users["ann"], [gone])
    trash.purge(team.users["ann"], [gone])
    export(team.store)
    tree, accounts = team.tree(), team.accounts()
    team.load_database(saved)
    assert "ann/later.txt" not in team.tree()
    assert recovery.recover().changes
    without_trouble(team, tree, accounts)
    assert not team.store.runtime.array().map.readonly


def test_what_was_done_here_since_the_backup_is_kept(team: Team) -> None:
    saved = team.save_database()
    team.join("carol")
    team.put("carol/hers.txt", data_of(43))
    export(team.store)
    tree, accounts = team.tree(), team.accounts()
    team.load_database(saved)
    dave = create_user("dave", PASSWORD)
    services.root(dave.id)
    assert dave.id == accounts["carol"][0]
    report = recovery.recover()
    found = team.accounts()
    assert found.items() >= accounts.items()
    assert found["dave"][0] != dave.id
    assert team.tree() == tree | {"dave": None}
    assert any("dave with number" in line for line in report.lines)
    check_books(team.app)


@pytest.mark.sqlite
def test_uploads_and_jobs_of_the_backup_are_forgotten(team: Team) -> None:
    saved = team.save_database()
    team.put("ann/later.txt", data_of(41))
    export(team.store)
    later = blob_of(team, 41)
    team.load_database(saved)
    with transaction() as session:
        session.add(Upload(blob=later, state="open"))
        session.add(Job(kind="scrub"))
    recovery.recover()
    assert team.store.rows(Upload) == team.store.rows(Debt) == []
    assert {row.state for row in team.store.rows(Job)} == {"cancelled"}
    team.store.age_uploads()
    team.store.settle()
    assert team.tree()["ann/later.txt"] == (41, tree_hash(41))


@pytest.mark.sqlite
def test_it_refuses_the_members_of_another_array(
    team: Team, make_store: Callable[..., Store]
) -> None:
    with transaction() as session:
        from uuid import uuid4

        session.execute(update(ArrayRow).values(uuid=uuid4()))
    with pytest.raises(CannotRecover, match="belong to the array"):
        recovery.recover()


def test_a_change_meanwhile_is_a_refusal(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.lose_database()
    real = recovery.Comparison.run

    def run(self: Any, executor: Any) -> None:
        real(self, executor)
        create_user("zoe", PASSWORD)

    monkeypatch.setattr(recovery.Comparison, "run", run)
    with pytest.raises(CannotRecover, match="changed while the members were read"):
        recovery.recover()
    assert team.store.rows(ArrayRow) == []


# -- how people come to it


@pytest.mark.sqlite
def test_a_start_without_a_database_names_the_command(team: Team) -> None:
    team.lose_database()
    said = "0 holds a member of an array.*flask array recover"
    with pytest.raises(CannotCreate, match=said):
        arrays.ensure_array()


@pytest.mark.sqlite
def test_the_command_prints_the_report(team: Team) -> None:
    team.lose_database()
    runner = team.app.test_cli_runner()
    dry = runner.invoke(args=["array", "recover", "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "Nothing was written" in dry.output
    assert team.store.rows(ArrayRow) == []
    done = runner.invoke(args=["array", "recover"])
    assert done.exit_code == 0, done.output
    assert "3 accounts, " in done.output
    assert "Not recovered, because the members do not have it: sessions" in done.output
    assert "The database was rebuilt." in done.output


@pytest.mark.sqlite
def test_the_command_ends_with_1_when_a_file_is_damaged(team: Team) -> None:
    for slot in range(4):
        for path in team.store.paths(slot, blob_of(team, 7)):
            path.unlink()
    team.lose_database()
    done = team.app.test_cli_runner().invoke(args=["array", "recover"])
    assert done.exit_code == 1
    assert "DAMAGED: 7.bin of ann" in done.output
