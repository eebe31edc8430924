"""Fail, take back, replace, retire, add a spare, read-only: done, told, refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from raid.errors import ArrayReadOnly, MemberMissing
from raid.superblock import Superblock
from storage import glossary, history, membership
from storage.cli.group import array
from storage.db import transaction, utcnow
from storage.errors import Refused
from storage.models import Blob, Event, MemberRow
from support.jobs import finish
from support.store import KIB, Store


def words(store: Store) -> list[str]:
    """The events in their order."""
    return [event.word for event in sorted(store.rows(Event), key=lambda one: one.id)]


def test_failed_and_taken_back(store: Store) -> None:
    blob = store.put(300 * KIB)
    event = store.array_row().event
    membership.fail(2, actor="root", why="It clicks.")
    assert store.states()[2] == "faulty"
    assert store.array_row().event == event + 1
    assert store.status().state == "degraded"
    assert store.get(blob.uuid) == store.contents[blob.uuid]
    array_now = store.runtime.array()
    with (
        pytest.raises(MemberMissing, match="faulty and is not used"),
        array_now.using(2),
    ):
        raise AssertionError("the member was lent")
    missed = store.put(300 * KIB)
    assert store.paths(2, missed.uuid) == []
    assert {debt.member_uuid for debt in store.debts()} == {array_now.uuid_of(2)}
    finish(store)
    assert store.states()[2] == "faulty", "nobody takes it back by himself"
    membership.readd(2, actor="root")
    assert store.states()[2] == "stale"
    finish(store)
    assert store.states() == ["in_sync"] * 4
    assert words(store)[:2] == ["member_failed", "member_taken_back"]
    first = history.latest()[-1]
    assert (first.actor, first.slot) == ("root", 2)
    said = glossary.EVENTS[first.word].sentence(first.slot, first.fields)
    assert said == (
        "The member of slot 2 is faulty and is not used any more. It clicks."
    )
    _newest_superblocks(store)


def _newest_superblocks(store: Store) -> None:
    row = store.array_row()
    for slot in range(store.width):
        paths = store.member(slot).glob("superblock.*")
        newest = max(paths, key=lambda path: int(path.suffix[1:]))
        assert Superblock.unpack(newest.read_bytes()).event == row.event


def _fill(folder: Path) -> str:
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    return f"file://{folder}"


REFUSALS: dict[str, tuple[Callable[[Store], Any], str]] = {
    "no such slot": (lambda s: membership.fail(7), "There is no slot 7"),
    "not faulty": (lambda s: membership.readd(0), "only a faulty one"),
    "a used place": (
        lambda s: membership.replace(0, "file:members/1"),
        "holds a member already",
    ),
    "a used place, as a spare": (
        lambda s: membership.add_spare(f"file://{s.member(1)}"),
        "holds a member already",
    ),
    "not blank": (
        lambda s: membership.replace(0, _fill(s.folder / "full")),
        "holds other files",
    ),
    "no url": (lambda s: membership.add_spare("members/9"), "is not the URL"),
    "nobody": (lambda s: membership.retire("file:members/9"), "No spare has"),
    "by url with a slot": (
        lambda s: membership.retire("file:members/1"),
        "No spare has",
    ),
    "writable already": (lambda s: membership.set_readonly(False), "writable already"),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.sqlite
def test_what_makes_no_sense_is_refused(store: Store, name: str) -> None:
    """With a sentence, status 409, and nothing changed."""
    call, sentence = REFUSALS[name]
    before = (store.array_row().event, len(store.rows(MemberRow)), words(store))
    with pytest.raises(Refused, match=sentence) as caught:
        call(store)
    assert caught.value.status == 409
    assert "Nothing was changed" in str(caught.value)
    after = (store.array_row().event, len(store.rows(MemberRow)), words(store))
    assert before == after
    assert store.states() == ["in_sync"] * 4


def test_one_more_than_the_level_survives_is_refused(store: Store) -> None:
    """Unless it is forced; also when the other one is only not there."""
    store.put(300 * KIB)
    membership.fail(0)
    with pytest.raises(Refused, match="is faulty already"):
        membership.fail(0)
    for call in (membership.fail, membership.retire):
        with pytest.raises(Refused, match="slots 0 are not in sync"):
            call(1)
    membership.readd(0)
    finish(store)
    store.lose(3)
    store.runtime.check_members()
    with pytest.raises(Refused, match="slots 3 are not in sync or not there"):
        membership.fail(1)
    membership.fail(1, force=True)
    store.bring_back(3)
    membership.readd(1)
    finish(store)
    assert store.states() == ["in_sync"] * 4
    store.check()


def test_a_retired_member_is_owed_nothing_and_never_used(store: Store) -> None:
    """Its slot waits for another one; purges do not wait for it."""
    old = store.put(300 * KIB)
    membership.retire(1, actor="root")
    held = store.objects(1)
    blob = store.put(300 * KIB)
    assert store.debts() == []
    assert store.get(old.uuid) == store.contents[old.uuid]
    _purge(store, blob.uuid)
    finish(store)
    assert store.objects(1) == held
    assert store.states()[1] == "retired"
    with pytest.raises(Refused, match="retired already"):
        membership.retire(1)
    with pytest.raises(Refused, match="only a faulty one"):
        membership.readd(1)
    membership.replace(1, "file:members/new")
    finish(store)
    assert store.states() == ["in_sync"] * 4
    store.lose(0)
    store.check()


def _purge(store: Store, uuid: Any) -> None:
    store.let_go(uuid)
    with transaction() as session:
        session.execute(update(Blob).where(Blob.uuid == uuid).values(due_at=utcnow()))
    finish(store)
    assert uuid not in {blob.uuid for blob in store.rows(Blob)}


def test_a_spare_is_retired_by_uuid_or_url(store: Store) -> None:
    uuid = membership.add_spare("file:members/a")
    membership.add_spare("file:members/b")
    with pytest.raises(Refused, match="a spare at"):
        membership.add_spare("file:members/a")
    membership.retire(uuid)
    membership.retire("file:members/b")
    rows = [row for row in store.rows(MemberRow) if row.slot is None]
    assert [row.state for row in rows] == ["retired"] * 2
    assert all(member.slot is not None for member in store.status().members)


def test_read_only_lets_nothing_be_changed(store: Store) -> None:
    store.put(1000)
    event = store.array_row().event
    membership.set_readonly(True, actor="root", why="We move the disks.")
    assert store.array_row().event == event + 1
    assert store.status().state == "readonly"
    assert "We move the disks." in store.status().sentence
    with pytest.raises(ArrayReadOnly):
        store.put(1000)
    for call in (
        lambda: membership.fail(1),
        lambda: membership.replace(1, "file:members/new"),
        lambda: membership.add_spare("file:members/new"),
        lambda: membership.retire(1),
    ):
        with pytest.raises(Refused, match="read-only"):
            call()
    assert not (store.folder / "new").exists()
    membership.set_readonly(False, actor="root")
    store.put(1000)
    finish(store)
    _newest_superblocks(store)
    assert words(store)[:2] == ["array_readonly", "array_writable"]
    store.check()


@pytest.mark.sqlite
def test_commands(store: Store) -> None:
    """What an operator types, and what a script sees of it."""
    run = store.app.test_cli_runner()

    def flask(*words: str, code: int = 0) -> str:
        result = run.invoke(array, words)
        assert result.exit_code == code, result.output
        return result.output

    store.put(300 * KIB)
    assert "No member needs to be rebuilt" in flask("rebuild")
    assert "every member is in sync" in flask("rebuild", "--wait").lower()
    assert "is faulty" in flask("fail", "1", "--why", "It clicks.")
    assert "Nothing was changed" in flask("fail", "2", code=1)
    assert "not in sync" in flask("rebuild", "--wait", code=1)
    assert "taken back" in flask("readd", "1")
    assert "inventory of slot 1" in flask("rebuild", "--wait")
    assert store.states() == ["in_sync"] * 4
    assert "There is a spare" in flask("spare", "file:members/spare")
    assert "is retired" in flask("retire", "file:members/spare")
    assert "gets the member" in flask("replace", "0", "file:members/new")
    assert "1 jobs" in flask("rebuild")
    out = flask("rebuild", "--wait")
    assert "Every member is in sync." in out
    rows = {row.slot: row.url for row in store.rows(MemberRow)}
    assert rows[0] == "file:members/new"
    assert "read-only" in flask("readonly", "on", "--why", "A move.")
    assert "read-only" in flask("rebuild", code=1)
    assert "writable again" in flask("readonly", "off")
    store.check()
