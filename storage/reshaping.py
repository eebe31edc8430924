"""Online change: widen, narrow and convert the array while everybody works.

The map changes at once, in one transaction: new files have the new shape from then on.
Old files keep theirs until the job `reshape` has written them anew. A slot that is
narrowed away takes no new data and serves what it holds until nothing names it.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, literal, select, update

from raid.errors import ArrayReadOnly
from raid.geometry import Level
from raid.manifest import Form
from raid.rows import MAX_SLOT
from raid.superblock import StoredState
from storage import history, maps, membership, succession, tombstones
from storage.db import transaction
from storage.errors import Refused
from storage.jobs import table
from storage.models import ArrayRow, Blob, BlobState, JobKind
from storage.runtime import runtime

_PLAIN = {"synchronize_session": False}
_ROLES = (int(Form.COMBINED), int(Form.SEGMENTED))


def widen(urls: Sequence[str], *, actor: str | None = None) -> int:
    """Add members at empty places, each in a slot of its own; returns the job's number.

    They are formatted as spares first, so whoever is killed in between leaves spares.
    """
    if not urls:
        raise Refused("No place for a new member was named. Nothing was changed.")
    with transaction() as session:
        array = _idle(maps.lock(session))
        _check(Level(array.level), array.width + len(urls))
    spares = [membership.add_spare(url, actor=actor) for url in urls]
    with transaction() as session:
        locked = maps.lock(session)
        array = _idle(locked)
        for member in [one for one in locked.members if one.uuid in spares]:
            slot = free_slot(locked)
            locked.change(
                member, slot=slot, state=StoredState.REBUILDING, inventory_due=True
            )
            tombstones.owe_to(session, member.uuid)
            job = {"member": member.uuid, "slot": slot, "actor": actor}
            table.add(session, JobKind.REBUILD, **job)  # type: ignore[arg-type]
        width = array.width + len(spares)
        number = _change(locked, actor, level=Level(array.level), width=width)
    runtime().forget_map()
    return number


def narrow(slot: int, *, actor: str | None = None) -> int:
    """Empty a slot, whose member is retired at the end; returns the job's number.

    Asked again for a slot that could not be emptied, it goes on with that.
    """
    with transaction() as session:
        locked = maps.lock(session)
        array = _idle(locked)
        member = locked.by_slot().get(slot)
        if member is None:
            raise Refused(f"There is no slot {slot}. Nothing was changed.")
        level = Level(array.level)
        width = array.width if member.leaving else array.width - 1
        _check(level, width)
        locked.change(member, leaving=True)
        number = _change(locked, actor, level=level, width=width)
    runtime().forget_map()
    return number


def convert(level: str, *, actor: str | None = None) -> int:
    """Change the level; returns the number of the job that rewrites the old files."""
    wanted = _level(level)
    with transaction() as session:
        locked = maps.lock(session)
        array = _idle(locked)
        if array.level == wanted:
            raise Refused(f"The array is {wanted} already. Nothing was changed.")
        _check(wanted, array.width)
        number = _change(locked, actor, level=wanted, width=array.width)
    runtime().forget_map()
    return number


def let_go(
    locked: maps.LockedMap, *, actor: str | None = None, all_seen: bool = True
) -> list[int]:
    """End the members whose slots were emptied, and give up those slots.

    Returns the slots that files still need: these stay, unless their member is retired.
    `all_seen` tells that every file was looked at, also those of unknown place.
    """
    needed = []
    for member in locked.members:
        slot = member.slot
        if not member.leaving or slot is None:
            continue
        gone = member.state == StoredState.RETIRED
        if not gone and _is_needed(locked.session, slot, all_seen=all_seen):
            needed.append(slot)
            continue
        succession.end(locked, member)
        locked.change(member, slot=None, leaving=False)
        history.note(
            locked.session,
            "member_retired",
            slot=slot,
            member=member.uuid,
            actor=actor,
            url=member.url,
            why="Its slot was emptied and is not there any more.",
        )
    return needed


def free_slot(locked: maps.LockedMap) -> int:
    """Return the lowest slot number that no member has and no blob names.

    A number is not used again while a manifest may say that something lies there.
    """
    taken = {one.slot for one in locked.members} | {
        one.target for one in locked.members
    }
    for slot in range(MAX_SLOT):
        if slot not in taken and not _is_named(locked.session, slot):
            return slot
    raise Refused("There is no free slot number. Nothing was changed.")


def _is_named(session: maps.AnySession, slot: int) -> bool:
    """Tell whether a role of any blob lies, or may lie, in a slot."""
    return _any(session, Blob.slots.is_(None) | _names(slot))


def _is_needed(session: maps.AnySession, slot: int, *, all_seen: bool) -> bool:
    """Tell whether a role of a file lies in a slot: it was not written anew."""
    named = _names(slot) if all_seen else Blob.slots.is_(None) | _names(slot)
    return _any(session, Blob.state == BlobState.LIVE, named)


def _names(slot: int) -> ColumnElement[bool]:
    words = literal(" ") + Blob.slots + literal(" ")
    return words.contains(f" {slot} ")


def _any(session: maps.AnySession, *wanted: ColumnElement[bool]) -> bool:
    roles = select(Blob.uuid).where(Blob.form.in_(_ROLES), *wanted).limit(1)
    return session.scalar(roles) is not None


def _level(text: str) -> Level:
    try:
        return Level(text)
    except ValueError as error:
        raise Refused(f"{error} Nothing was changed.") from error


def _check(level: Level, width: int) -> None:
    try:
        level.check(width)
    except ValueError as error:
        raise Refused(f"{error} Nothing was changed.") from error


def _idle(locked: maps.LockedMap) -> ArrayRow:
    """Return the array's row when nothing stands in the way of another shape."""
    try:
        locked.refuse_readonly()
    except ArrayReadOnly as error:
        raise Refused(f"{error} Nothing was changed.") from error
    for kind in (JobKind.RESHAPE, JobKind.REBUILD, JobKind.REPLACE):
        if table.active(locked.session, kind):
            raise Refused(
                f"A {kind} is on its way. Nothing was changed. Wait until it has ended."
            )
    for slot in sorted(locked.newcomers()):
        raise Refused(
            f"The member of slot {slot} is being replaced. Nothing was changed. Wait "
            "until that is done, or retire its new member."
        )
    # One that leaves is left out of the new shape, however it is.
    sick = [
        str(slot)
        for slot, member in sorted(locked.by_slot().items())
        if member.state != StoredState.IN_SYNC and not member.leaving
    ]
    if sick:
        raise Refused(
            f"Not every member is in sync (slots {', '.join(sick)}). Nothing was "
            "changed. Replace or bring back what is missing first."
        )
    return locked.session.get_one(ArrayRow, 1, populate_existing=True)


def _change(
    locked: maps.LockedMap, actor: str | None, *, level: Level, width: int
) -> int:
    session = locked.session
    session.execute(
        update(ArrayRow).values(level=level, width=width), execution_options=_PLAIN
    )
    locked.touch()
    history.note(session, "array_reshaped", actor=actor, level=level.value, width=width)
    return table.add(session, JobKind.RESHAPE, actor=actor)
