"""Rebuild the database from the members: `flask array recover`.

The journal says what the rows were, the members say what they hold, and what this
database alone knows is kept. Nothing is written to a member here, and the rows change
in one transaction: killed anywhere, it is run again.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from flask import current_app
from sqlalchemy import delete, func, select, update

from raid.geometry import UNIT
from raid.superblock import MemberEntry, StoredState
from storage import history
from storage.db import db, release, transaction, utcnow
from storage.errors import CannotRecover
from storage.journal import reading, rows, scene
from storage.journal.catalogue import BLOBS, Catalogue
from storage.journal.merge import Target, merge
from storage.journal.strays import Comparison
from storage.maps import AnySession
from storage.members.urls import parse_member_url
from storage.models import ArrayRow, Job, JobState, MemberRow, Outbox
from storage.runtime import runtime

THREADS = 16
_HERE = (StoredState.IN_SYNC, StoredState.STALE, StoredState.REBUILDING)
_ACTIVE = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)

Arranger = Callable[[Target], None]
_arrangers: list[Arranger] = []


def register_arranger(arranger: Arranger) -> None:
    """Let a package make its rows whole before they are written."""
    if arranger not in _arrangers:
        _arrangers.append(arranger)


@dataclass
class Report:
    """What a recovery does, or would do; the same for a dry run."""

    changes: bool
    lines: list[str] = field(default_factory=list)
    damaged: int = 0


@dataclass(frozen=True)
class _Known:
    """What the database said when we began; a change since then is a refusal."""

    array: UUID | None
    incarnation: int
    event: int
    number: int
    hash: bytes | None
    outbox: int

    @classmethod
    def now(cls, session: AnySession) -> "_Known":
        row = session.scalars(select(ArrayRow)).one_or_none()
        newest = session.scalar(select(func.max(Outbox.id))) or 0
        if row is None:
            return cls(None, 0, 0, 0, None, newest)
        numbers = row.incarnation, row.event, row.journal_number
        return cls(row.uuid, *numbers, row.journal_hash, newest)


def recover(urls: Sequence[str] = (), *, dry_run: bool = False) -> Report:
    """Rebuild the rows from the members, or say what that would do."""
    try:
        return _Recovery(urls).run(dry_run=dry_run)
    except (scene.NoMembers, reading.Changed, ValueError) as error:
        raise CannotRecover(f"{error} Nothing was changed.") from error


class _Recovery:
    """One recovery: look, put the target together, write it."""

    def __init__(self, urls: Sequence[str]) -> None:
        settings = current_app.config["HOLDFAST"]
        named = urls or settings.array_members
        known = db.session.scalars(select(MemberRow.url)).all()
        self._known = _Known.now(db.session())
        release()
        self._scene = scene.look(
            {
                url: parse_member_url(url, settings.data_dir)
                for url in dict.fromkeys([*named, *known])
            }
        )
        self._chain = reading.read(self._scene)

    def run(self, *, dry_run: bool) -> Report:
        """Do it, or only say what it would do."""
        self._refuse_another_array()
        if not self._is_behind():
            return Report(
                changes=False,
                lines=[
                    "There is nothing to recover: the database knows the array, and no "
                    "member knows of anything later. Nothing was changed."
                ],
            )
        target = self._target()
        report = Report(True, list(self._lines(target)), len(target.damaged))
        if not dry_run:
            self._write(target)
        return report

    # -- what this database is, compared with the members

    def _refuse_another_array(self) -> None:
        known = self._known.array
        if known is not None and known != self._scene.array:
            raise CannotRecover(
                f"The database knows the array {known}, and the members "
                f"belong to the array {self._scene.array}. Nothing was changed. Name "
                "the right members, or start with an empty database."
            )

    def _is_behind(self) -> bool:
        known, there = self._known, self._scene
        if known.array is None:
            return True
        if (there.incarnation, there.event) > (known.incarnation, known.event):
            return True
        # Even what nobody believes: a new incarnation leaves it behind.
        return self._chain.top > (known.incarnation, known.number)

    def _since(self) -> int | None:
        """Return the number of the database's head, if the chain goes through it."""
        known = self._known
        for link in self._chain.links:
            if (self._chain.incarnation, link.number) == (
                known.incarnation,
                known.number,
            ):
                return link.number if link.hash == known.hash else None
        return None

    # -- what the rows are to be

    def _target(self) -> Target:
        since = self._since()
        entries = reading.entries(self._scene, self._chain)
        journal = Catalogue.of(entries, since or 0)
        local = rows.local_rows(
            db.session(), journal, everything=self._known.array is None
        )
        release()
        target = merge(journal, local, all_late=since is None)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="member") as executor:
            Comparison(self._scene, target, self._chain.head_us).run(executor)
        for arranger in _arrangers:
            arranger(target)
        return target

    # -- what people are told

    def _lines(self, target: Target) -> Iterator[str]:
        there, catalogue = self._scene, target.catalogue
        files = [row for row in catalogue.entries.values() if row["kind"]]
        yield f"The array {there.array}, {there.block.level}, {there.width} members."
        yield from (f"Note: {note}" for note in [*there.notes, *self._chain.notes])
        yield from (f"Note: {note}" for note in sorted(target.notes))
        for table in sorted(catalogue.unknown):
            yield (
                f"Note: The journal carries {table}, which this release does not know. "
                "Recover with the newer release if it is needed."
            )
        yield from (f"Not named by the journal: {said}" for said in target.placed)
        yield from (f"DAMAGED: {said}" for said in sorted(target.damaged))
        yield (
            f"{len(catalogue.users)} accounts, "
            f"{len(catalogue.entries) - len(files)} folders, {len(files)} files, "
            f"{sum(row['size'] for row in files)} bytes."
        )
        yield self._age()
        yield (
            "Not recovered, because the members do not have it: sessions, failed "
            "logins, idempotency keys, the event log, and jobs. Everybody signs in "
            "anew."
        )

    def _age(self) -> str:
        head = self._chain.head
        if head is None:
            return "There was no journal: no account, move, or deletion is known."
        return (
            f"Accounts, moves, and deletions are those of entry {head.number} of "
            f"incarnation {self._chain.incarnation} of the journal."
        )

    # -- writing

    def _write(self, target: Target) -> None:
        with transaction() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(select(ArrayRow.id).with_for_update())
            if _Known.now(session()) != self._known:
                raise CannotRecover(
                    "The database was changed while the members were read. Nothing "
                    "was changed by this. Stop the site, then run it again."
                )
            rows.write(session, target.catalogue)
            self._write_array(session)
            self._write_members(session)
            _cancel_jobs(session)
            history.note(
                session,
                "array_recovered",
                accounts=len(target.catalogue.users),
                blobs=len(target.catalogue.tables[BLOBS]),
                damaged=len(target.damaged),
                unnamed=len(target.placed),
            )
        runtime().forget_map()

    def _write_array(self, session: AnySession) -> None:
        """Begin an incarnation that nobody, not even a liar, has seen yet."""
        known, there = self._known, self._scene
        highest = max(there.incarnation, self._chain.top[0], known.incarnation)
        values = {
            "uuid": there.array,
            "level": there.block.level.value,
            "width": there.width,
            "unit": UNIT,
            "incarnation": highest + 1,
            "event": max(there.event, known.event) + 1,
            "event_at": utcnow(),
            "readonly": False,
            "readonly_why": None,
            "journal_number": 0,
            "journal_hash": None,
        }
        if known.array is None:
            session.add(ArrayRow(id=1, **values))
        else:
            session.execute(update(ArrayRow).values(values))
        session.flush()

    def _write_members(self, session: AnySession) -> None:
        """Write the map anew; what a member lacks is found by an inventory."""
        session.execute(
            delete(MemberRow), execution_options={"synchronize_session": False}
        )
        for entry in self._scene.block.members:
            place = self._scene.place_of(entry.member)
            session.add(
                MemberRow(
                    uuid=entry.member,
                    slot=entry.slot,
                    url=entry.url if place is None else place.url,
                    state=_state(entry),
                    superblock_event=1,
                    inventory_due=entry.state in _HERE,
                )
            )


def _state(entry: MemberEntry) -> StoredState:
    """Return the state that a member begins with: its absences prove nothing."""
    if entry.state not in _HERE:
        return entry.state
    return StoredState.SPARE if entry.slot is None else StoredState.STALE


def _cancel_jobs(session: AnySession) -> None:
    session.execute(
        update(Job)
        .where(Job.state.in_(_ACTIVE))
        .values(
            state=JobState.CANCELLED,
            lease=None,
            problem="The database was recovered; ask for the job again.",
            finished_at=utcnow(),
        ),
        execution_options={"synchronize_session": False},
    )
