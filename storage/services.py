"""Making the array, and stopping it: what administrators and the launcher ask for."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from flask import current_app
from sqlalchemy import delete, select, update

from raid.assemble import Problem, format_member, inspect
from raid.errors import MemberError, ObjectKept
from raid.geometry import UNIT, Level
from raid.keys import superblock_key
from raid.member import Member
from raid.superblock import StoredState
from storage import maps
from storage.db import db, release, transaction
from storage.errors import ArrayExists, CannotCreate
from storage.members.urls import parse_member_url
from storage.models import ArrayRow, MemberRow
from storage.runtime import runtime

_LOG = logging.getLogger("holdfast.array")


def create_array(level: str, urls: Sequence[str]) -> None:
    """Make the array out of empty places; anything else there is a refusal.

    The rows come first: when this is killed, the next start goes on where it ended,
    because only members that never had a superblock are formatted.
    """
    places = _checked(level, urls)
    with transaction() as session:
        if session.get(ArrayRow, 1) is not None:
            raise ArrayExists(
                "There is an array already, and there can be one only. "
                "Nothing was changed. See it with: flask array status."
            )
        session.add(
            ArrayRow(id=1, uuid=uuid4(), level=level, width=len(urls), unit=UNIT)
        )
        for slot, url in enumerate(urls):
            session.add(
                MemberRow(uuid=uuid4(), slot=slot, url=url, state=StoredState.IN_SYNC)
            )
    try:
        format_new(places)
    except (MemberError, CannotCreate) as error:
        _take_back(places)
        raise CannotCreate(f"The array was not made. {error}") from error
    runtime().forget_map()


def _checked(level: str, urls: Sequence[str]) -> dict[str, Member]:
    base = current_app.config["HOLDFAST"].data_dir
    try:
        Level(level).check(len(urls))
        places: dict[str, Member] = {url: parse_member_url(url, base) for url in urls}
    except ValueError as error:
        raise CannotCreate(f"The array can't be made: {error}") from error
    if len({Path(place.label).resolve() for place in places.values()}) != len(urls):
        raise CannotCreate(
            "The same place is named twice, and each member needs one of its own. "
            "Name another place."
        )
    problems = [
        found.sentence or f"{url} holds a member of an array."
        for url, found in zip(urls, map(inspect, places.values()), strict=True)
        if found.problem is not Problem.BLANK
    ]
    if problems:
        raise CannotCreate(
            "The database knows no array, and only empty places can become members "
            f"of a new one. Nothing was changed. {' '.join(problems)} "
            "If there was an array, rebuild its database from the members with: flask "
            "array recover; otherwise choose empty places."
        )
    return places


def format_new(places: Mapping[str, Member] | None = None) -> int:
    """Format the members that never had a superblock; returns how many."""
    row = db.session.scalars(select(ArrayRow)).one()
    members = db.session.scalars(select(MemberRow)).all()
    new = [
        (member.uuid, member.url, maps.superblock(row, members, member.uuid))
        for member in members
        if member.superblock_event == 0 and member.state != StoredState.RETIRED
    ]
    release()
    base = current_app.config["HOLDFAST"].data_dir
    for uuid, url, superblock in new:
        place = (places or {}).get(url) or parse_member_url(url, base)
        found = inspect(place).superblock
        if found is None:
            format_member(place, superblock)
        elif (found.array, found.member) != (superblock.array, superblock.member):
            raise CannotCreate(f"{url} belongs to another array. Choose another place.")
        else:
            # Whoever was killed after naming it may not have made the name durable.
            key = superblock_key(found.incarnation, found.event)
            place.admit(found.array, found.member)
            place.put(key, [found.pack()], essential=True)
        with transaction() as session:
            session.execute(
                update(MemberRow)
                .where(MemberRow.uuid == uuid, MemberRow.superblock_event == 0)
                .values(superblock_event=(found or superblock).event)
            )
    return len(new)


def _take_back(places: dict[str, Member]) -> None:
    """Undo what was done of an array that could not be made."""
    row = db.session.scalars(select(ArrayRow)).one()
    uuid, key = row.uuid, superblock_key(row.incarnation, row.event)
    release()
    for member in places.values():
        found = inspect(member).superblock
        if found is not None and found.array == uuid:
            with suppress(ObjectKept):  # it becomes no member any more
                member.delete(key)
    with transaction() as session:
        session.execute(delete(MemberRow))
        session.execute(delete(ArrayRow))


def ensure_array() -> None:
    """Make the array of the settings when there is none; for the launcher.

    An array that exists is left as it is: superblocks and database decide, and
    settings that say otherwise are a warning.
    """
    settings = current_app.config["HOLDFAST"]
    row = db.session.get(ArrayRow, 1)
    members = db.session.scalars(select(MemberRow)).all()
    release()
    if row is None:
        create_array(settings.array_level, settings.array_members)
        return
    format_new()
    known = {member.url for member in members if member.slot is not None}
    if row.level != settings.array_level or known != set(settings.array_members):
        _LOG.warning(
            "The settings ARRAY_LEVEL and ARRAY_MEMBERS differ from the array that "
            "there is. The array stays as it is; the settings only say where to look."
        )
