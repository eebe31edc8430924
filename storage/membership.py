"""Change the members of the array: fail, take back, replace, retire, add a spare.

Every change is an event: one transaction under the lock of the map, which counts the
array's event up; the superblocks follow. What makes no sense is refused with a
sentence, and nothing was changed then.

A new member is formatted as a spare first, rows before superblock. So whoever is killed
in between leaves a spare, and asking again goes on from there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from flask import current_app
from sqlalchemy import delete, insert, select, update

from raid.array import Array
from raid.assemble import Problem, inspect
from raid.errors import MemberError
from raid.superblock import StoredState
from storage import history, maps, outlook, services, succession, tombstones
from storage.db import transaction
from storage.errors import CannotCreate, Needed, Refused
from storage.jobs import table
from storage.members.urls import parse_member_url
from storage.models import ArrayRow, Job, JobKind, MemberRow
from storage.runtime import runtime

_SERVES = (StoredState.IN_SYNC, StoredState.REBUILDING, StoredState.STALE)


def fail(
    slot: int,
    *,
    seen: UUID | None = None,
    actor: str | None = None,
    why: str | None = None,
    force: bool = False,
) -> None:
    """Take the member of a slot out of use; it is faulty until it is taken back."""
    with _change() as (array, locked):
        member = _in_slot(locked, slot, seen)
        if member.state in (StoredState.FAULTY, StoredState.RETIRED):
            raise Refused(
                f"The member of slot {slot} is {member.state} already. "
                "Nothing was changed. Take it back or replace it."
            )
        _keep_enough(array, locked, slot, force=force)
        locked.set_state(member, StoredState.FAULTY)
        history.note(
            locked.session,
            "member_failed",
            slot=slot,
            member=member.uuid,
            actor=actor,
            why=why or "It was failed by hand.",
        )


def readd(slot: int, *, actor: str | None = None) -> None:
    """Take a faulty member back: it is looked at and paid before it is in sync."""
    with _change() as (_, locked):
        member = _in_slot(locked, slot)
        if member.state != StoredState.FAULTY:
            raise Refused(
                f"The member of slot {slot} is {member.state}, and only a faulty one "
                "can be taken back. Nothing was changed."
            )
        locked.set_state(member, StoredState.STALE)
        history.note(
            locked.session,
            "member_taken_back",
            slot=slot,
            member=member.uuid,
            actor=actor,
        )


def replace(
    slot: int, url: str, *, actor: str | None = None, force: bool = False
) -> UUID:
    """Put the member at a url into a slot; returns its uuid.

    While the old member serves, what it holds is copied first and it stays in use
    meanwhile. Otherwise the new one takes the slot at once and is rebuilt, and the old
    one is ended for ever: without force only when every file can do without it.
    """
    force = force or not outlook.is_needed(slot)
    with _change() as (array, locked):
        _refuse_second(locked, slot)
        _spare_what_is_needed(array, locked, slot, force=force)
        known = _spare_at(locked, url)
    if known is None:
        uuid = _enlist(url, actor, slot)
    else:
        uuid = known.uuid
        services.format_new()
    seat(slot, uuid, actor=actor, force=force)
    return uuid


def seat(
    slot: int,
    spare: UUID,
    *,
    seen: UUID | None = None,
    actor: str | None = None,
    why: str = "",
    force: bool = False,
) -> None:
    """Let a spare that is formatted replace the member of a slot.

    Without force, only when what a member that is gone holds can't be needed; and
    only the member that was `seen` in the slot, if one is named.
    """
    with _change() as (array, locked):
        old = _in_slot(locked, slot, seen)
        _refuse_second(locked, slot)
        new = next((one for one in locked.members if one.uuid == spare), None)
        if new is None or new.state != StoredState.SPARE:
            raise Refused(
                "The spare is not there any more, so the slot was not given to it. "
                "Nothing was changed. Try again."
            )
        if _serves(array, old):
            _begin_copy(locked, slot, new, actor)
            return
        _spare_what_is_needed(array, locked, slot, force=force)
        succession.succeed(
            locked, old, new, StoredState.REBUILDING, actor=actor, why=why
        )
        table.add(
            locked.session, JobKind.REBUILD, member=new.uuid, slot=slot, actor=actor
        )


def _serves(array: Array, member: maps.LockedMember) -> bool:
    slot = member.slot
    return member.state in _SERVES and slot is not None and _is_here(array, slot)


def _spare_what_is_needed(
    array: Array, locked: maps.LockedMap, slot: int, *, force: bool
) -> None:
    """Refuse to give up for ever what a member holds that does not serve now."""
    old = _in_slot(locked, slot)
    if old.state != StoredState.RETIRED and not _serves(array, old):
        _keep_enough(array, locked, slot, force=force)


def _begin_copy(
    locked: maps.LockedMap, slot: int, new: maps.LockedMember, actor: str | None
) -> None:
    locked.change(
        new, state=StoredState.REBUILDING, target_slot=slot, inventory_due=True
    )
    tombstones.owe_to(locked.session, new.uuid)
    job = {"member": new.uuid, "slot": slot, "actor": actor}
    table.add(locked.session, JobKind.REPLACE, **job)  # type: ignore[arg-type]
    history.note(
        locked.session,
        "member_replacing",
        slot=slot,
        member=new.uuid,
        actor=actor,
        url=new.url,
    )


def retire(which: int | str | UUID, *, actor: str | None = None) -> None:
    """End a member for ever: the one of a slot, or a spare by its uuid or url.

    A replacement that is on its way is called off by retiring the new member.
    """
    with _change() as (array, locked):
        member = _named(locked, which)
        if member.state == StoredState.RETIRED:
            raise Refused("That member is retired already. Nothing was changed.")
        if member.slot is not None:
            _keep_enough(array, locked, member.slot, force=False)
        succession.end(locked, member)
        history.note(
            locked.session,
            "member_retired",
            slot=member.slot,
            member=member.uuid,
            actor=actor,
            url=member.url,
            why="It was retired by hand.",
        )


def add_spare(url: str, *, actor: str | None = None) -> UUID:
    """Format an empty place as a spare; returns its uuid."""
    with _change() as (_, locked):
        known = _spare_at(locked, url)
    if known is not None:
        raise Refused(f"There is a spare at {url} already. Nothing was changed.")
    return _enlist(url, actor)


def set_readonly(on: bool, *, actor: str | None = None, why: str | None = None) -> None:
    """Let nothing be written or removed any more, or let it again."""
    sentence = why or "An administrator has set it read-only."
    with transaction() as session:
        locked = maps.lock(session)
        if locked.readonly == on:
            word = "read-only" if on else "writable"
            raise Refused(f"The array is {word} already. Nothing was changed.")
        session.execute(
            update(ArrayRow).values(readonly=on, readonly_why=sentence if on else None),
            execution_options={"synchronize_session": False},
        )
        locked.touch()
        if on:
            history.note(session, "array_readonly", actor=actor, why=sentence)
        else:
            history.note(session, "array_writable", actor=actor)
    runtime().forget_map()


def rebuild(*, actor: str | None = None) -> list[int]:
    """Ask for the jobs that members need to become whole; returns their numbers."""
    with _change() as (_, locked):
        session = locked.session
        for row in locked.members:
            due = row.state == StoredState.REBUILDING and row.inventory_due
            if not due or row.slot is None:
                continue
            if not any(table.active(session, kind, row.uuid) for kind in table.FILLING):
                job = {"member": row.uuid, "slot": row.slot, "actor": actor}
                table.add(session, JobKind.REBUILD, **job)  # type: ignore[arg-type]
        query = select(Job.id).where(
            Job.kind.in_(table.FILLING), Job.state.in_(table.ACTIVE)
        )
        return list(session.scalars(query.order_by(Job.id)))


# -- what every change has in common ------------------------------------------


@contextmanager
def _change() -> Iterator[tuple[Array, maps.LockedMap]]:
    """Lock the map for a change, unless the array is read-only."""
    own = runtime()
    array = own.array()
    with transaction() as session:
        locked = maps.lock(session)
        if locked.readonly:
            raise Refused(
                "The array is read-only, so its members can't be changed. "
                "Nothing was changed. Let it be written first."
            )
        yield array, locked
    own.forget_map()


def _in_slot(
    locked: maps.LockedMap, slot: int, seen: UUID | None = None
) -> maps.LockedMember:
    """Return the member of a slot, or refuse when it is not the one that was seen."""
    member = locked.by_slot().get(slot)
    if member is None:
        slots = ", ".join(str(one) for one in sorted(locked.by_slot()))
        raise Refused(
            f"There is no slot {slot}; the slots are {slots}. Nothing was changed."
        )
    if seen not in (None, member.uuid):
        raise Refused(
            f"Slot {slot} has another member by now. Nothing was changed. "
            "Look at the array again."
        )
    return member


def _named(locked: maps.LockedMap, which: int | str | UUID) -> maps.LockedMember:
    if isinstance(which, int):
        return _in_slot(locked, which)
    for member in locked.members:
        beside = member.slot is None and member.state != StoredState.RETIRED
        if beside and str(which) in (str(member.uuid), member.url):
            return member
    raise Refused(
        f"No spare has the uuid or the url {which}. Nothing was changed. "
        "A member with a slot is named by its slot."
    )


def _is_here(array: Array, slot: int) -> bool:
    return slot in array.members and not array.health.unreachable(slot)


def _keep_enough(
    array: Array, locked: maps.LockedMap, slot: int, *, force: bool
) -> None:
    """Refuse to lose one more member than the level survives."""
    lacking = [
        other
        for other, member in sorted(locked.by_slot().items())
        if other != slot
        and (member.state != StoredState.IN_SYNC or not _is_here(array, other))
    ]
    most = array.map.shape.m
    if len(lacking) + 1 > most and not force:
        names = ", ".join(str(other) for other in lacking)
        raise Needed(
            f"Slot {slot} is needed: the members of slots {names} are not in sync or "
            f"not there, and the array survives the loss of {most}. Nothing was "
            "changed. Bring them back first, or force it."
        )


def _refuse_second(locked: maps.LockedMap, slot: int) -> None:
    if _in_slot(locked, slot).leaving:
        raise Refused(
            f"Slot {slot} is being emptied and gets no other member. Nothing was "
            "changed. Wait until that is done, or narrow it again."
        )
    if slot in locked.newcomers():
        raise Refused(
            f"Slot {slot} is being replaced already. Nothing was changed. "
            "Wait until that is done, or retire its new member."
        )


# -- new members ----------------------------------------------------------------


def _spare_at(locked: maps.LockedMap, url: str) -> maps.LockedMember | None:
    place = _resolved(url)
    for member in locked.members:
        if member.state == StoredState.SPARE and _resolved(member.url) == place:
            return member
    return None


def _resolved(url: str) -> Path:
    try:
        member = parse_member_url(url, current_app.config["HOLDFAST"].data_dir)
    except ValueError as error:
        raise Refused(f"{error} Nothing was changed.") from error
    return Path(member.label).resolve()


def _enlist(url: str, actor: str | None, slot: int | None = None) -> UUID:
    """Format an empty place as a spare; `slot` is the one it will get."""
    place = parse_member_url(url, current_app.config["HOLDFAST"].data_dir)
    found = inspect(place)
    if found.problem is not Problem.BLANK:
        raise Refused(
            f"{found.sentence or f'{url} holds a member already.'} Only an empty "
            "place can become a member. Nothing was changed. Choose another place."
        )
    with _change() as (_, locked):
        _refuse_used(locked, url, slot)
        uuid = uuid4()
        values = {"uuid": uuid, "url": url, "state": StoredState.SPARE}
        locked.session.execute(insert(MemberRow).values(values))
        locked.touch()
        history.note(locked.session, "spare_added", member=uuid, actor=actor, url=url)
    try:
        services.format_new()
    except (MemberError, CannotCreate) as error:
        _take_back(uuid)
        raise Refused(
            f"{url} could not be made a member, so nothing was changed. {error}"
        ) from error
    runtime().forget_map()
    return uuid


def _refuse_used(locked: maps.LockedMap, url: str, slot: int | None) -> None:
    """Refuse a place that is a member's; a new disk may stand where the old one was."""
    place = _resolved(url)
    for member in locked.members:
        retired = member.state == StoredState.RETIRED
        own = slot is not None and member.slot == slot
        if not retired and not own and _resolved(member.url) == place:
            raise Refused(
                f"{url} is a member's place already. Nothing was changed. "
                "Choose another place."
            )


def _take_back(uuid: UUID) -> None:
    """Forget a member that was never formatted."""
    with transaction() as session:
        locked = maps.lock(session)
        session.execute(
            delete(MemberRow).where(
                MemberRow.uuid == uuid, MemberRow.superblock_event == 0
            ),
            execution_options={"synchronize_session": False},
        )
        locked.touch()
    runtime().forget_map()
