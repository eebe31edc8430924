"""Online change: widen, narrow and convert the array while everybody works.

The map changes at once, in one transaction: new files have the new shape from then on.
Old files keep theirs until the job `reshape` has written them anew. A slot that is
narrowed away takes no new data and serves what it holds until nothing names it.
"""

from sqlalchemy import update

from raid.geometry import Level
from raid.superblock import StoredState
from storage import history, maps
from storage.db import transaction
from storage.errors import StorageError
from storage.jobs import table
from storage.models import ArrayRow, JobKind, MemberRow
from storage.runtime import runtime

_PLAIN = {"synchronize_session": False}


class CannotReshape(StorageError):
    """The array can't be changed like that; nothing was changed."""

    status = 409
    code = "cannot_reshape"


def convert(level: str, *, actor: str | None = None) -> int:
    """Change the level; returns the number of the job that rewrites the old files."""
    wanted = _level(level)
    with transaction() as session:
        locked = maps.lock(session)
        array = _idle(locked)
        if array.level == wanted:
            raise CannotReshape(f"The array is {wanted} already. Nothing was changed.")
        _check(wanted, array.width)
        number = _change(locked, actor, level=wanted, width=array.width)
    runtime().forget_map()
    return number


def narrow(slot: int, *, actor: str | None = None) -> int:
    """Empty a slot, whose member is retired at the end; returns the job's number."""
    with transaction() as session:
        locked = maps.lock(session)
        array = _idle(locked)
        member = locked.by_slot().get(slot)
        if member is None:
            raise CannotReshape(f"There is no slot {slot}. Nothing was changed.")
        level = Level(array.level)
        _check(level, array.width - 1)
        session.execute(
            update(MemberRow).where(MemberRow.uuid == member.uuid).values(leaving=True),
            execution_options=_PLAIN,
        )
        number = _change(locked, actor, level=level, width=array.width - 1)
    runtime().forget_map()
    return number


def _level(text: str) -> Level:
    try:
        return Level(text)
    except ValueError as error:
        raise CannotReshape(f"{error} Nothing was changed.") from error


def _check(level: Level, width: int) -> None:
    try:
        level.check(width)
    except ValueError as error:
        raise CannotReshape(f"{error} Nothing was changed.") from error


def _idle(locked: maps.LockedMap) -> ArrayRow:
    """Return the array's row when nothing stands in the way of another shape."""
    locked.refuse_readonly()
    if table.active(locked.session, JobKind.RESHAPE):
        raise CannotReshape(
            "The last change of shape is not finished. Nothing was changed. Wait for "
            "the reshape, or look at it on the array page."
        )
    for kind in (JobKind.REBUILD, JobKind.REPLACE):
        if table.active(locked.session, kind):
            raise CannotReshape(
                f"A {kind} is on its way. Nothing was changed. Wait until it has ended."
            )
    sick = [m.slot for m in locked.by_slot().values() if m.state != StoredState.IN_SYNC]
    if sick:
        names = ", ".join(map(str, sorted(s for s in sick if s is not None)))
        raise CannotReshape(
            f"Not every member is in sync (slots {names}). Nothing was changed. "
            "Replace or bring back what is missing first."
        )
    return locked.session.get_one(ArrayRow, 1, populate_existing=True)


def _change(
    locked: maps.LockedMap, actor: str | None, *, level: Level, width: int
) -> int:
    session = locked.session
    session.execute(
        update(ArrayRow).values(level=level, width=width), execution_options=_PLAIN
    )
    locked.bump()
    history.note(session, "array_reshaped", actor=actor, level=level.value, width=width)
    return table.add(session, JobKind.RESHAPE, actor=actor)
