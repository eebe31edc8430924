"""Each fault of a network or a server in each verb of a bucket: named, or not noticed.

A fault meets the request that a verb is made of once, and then every request for a
while. `support.faultproxy` has the kinds.
"""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from raid import halves
from raid.array import Array
from raid.assemble import format_member
from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberMissing,
    MemberReadOnly,
    MemberSlow,
    ObjectKept,
    ObjectMissing,
)
from raid.geometry import Level
from raid.keys import QUARANTINE
from raid.writer import Stored
from storage.members.s3 import FRESH, S3Member
from support.arrays import Clock, array_over, get_blob, map_of, put_blob, superblock_of
from support.bodies import body
from support.buckets import S3Server
from support.faultproxy import (
    HARMLESS,
    KINDS,
    LOST,
    LYING,
    METHODS,
    FaultProxy,
    dice,
    fits,
    script,
)
from support.places import Place
from support.soak import drawn

DATA = b"these are the bytes of an object"
STORED = "o/ab/abcdef00-0000-4000-8000-000000000000.m1"
SERVERS = ("moto", "rclone")
SAID = {
    "no bucket": MemberMissing,
    "denied": MemberDenied,
    "expired": MemberDenied,
    "skewed": MemberDenied,
}
"""What a server's word is called, whenever it is said."""
DENIED = {"put": MemberReadOnly, "set_aside": MemberReadOnly, "delete": ObjectKept}
"""What it is called when only the verb is denied."""
LIES = {"wrong length": MemberFailing, "wrong bytes": MemberSlow}
"""What a superblock is that can't be got, or not be believed; else it is missing."""


@pytest.fixture(scope="module")
def places(
    proxies: Callable[[S3Server], FaultProxy],
) -> Callable[[S3Server], Place]:
    """Give a function that returns the member on a server."""

    @cache
    def make(server: S3Server) -> Place:
        place = Place(proxies(server), server)
        format_member(place.member, superblock_of(map_of(Level.RAID1, "ab"), 0))
        place.member.put(STORED, [b"another one" * 9])
        return place

    return make


@pytest.fixture
def place(
    request: pytest.FixtureRequest, places: Callable[[S3Server], Place]
) -> Iterator[Place]:
    """The member on the server that a test names."""
    found = places(request.getfixturevalue(request.param))
    yield found
    found.heal()


# -- one member ------------------------------------------------------------------------


def _prepared(place: Place, operation: str) -> str:
    """Return a key with an object, or without where one is put."""
    key = place.key()
    if operation != "put":
        place.member.put(key, [DATA])
    return key


def _do(member: S3Member, operation: str, key: str) -> object:
    """Do what a verb does, and return what it says."""
    if operation == "put":
        return member.put(key, [DATA])
    if operation == "read":
        return member.read(key, 0, len(DATA))
    if operation == "info":
        return member.info(key).size
    if operation == "list":
        return [info.key for info in member.list("o/") if info.key == key]
    if operation == "check":
        return member.check()
    remove = member.delete if operation == "delete" else member.set_aside
    return remove(key)


RIGHT: dict[str, Callable[[str], object]] = {
    "put": lambda _: None,
    "read": lambda _: DATA,
    "info": lambda _: len(DATA),
    "list": lambda key: [key],
    "delete": lambda _: None,
    "set_aside": lambda _: None,
    "check": lambda _: None,
}
"""What each verb says when all is well."""


def _request(operation: str) -> str:
    return operation if operation in METHODS else "read"


def _once(kind: str, operation: str) -> set[type[MemberError] | None]:
    """Return what may come of a fault in the request of a verb; None is no error."""
    if (operation, kind) == ("set_aside", "expired"):
        return {None}  # a copy that is answered with a 400 is read and stored instead
    if kind in SAID:
        only_the_verb = DENIED if kind == "denied" else {}
        return {only_the_verb.get(operation, SAID[kind])}
    if kind == "hang":
        return {None, MemberSlow}  # the time for all tries may be over by then
    if kind == "wrong length" and operation in ("read", "check"):
        return {MemberFailing}
    return {None}


def _always(kind: str, operation: str) -> type[MemberError] | None:
    """Return what comes of a fault in every request, that for the superblock, too."""
    if kind in HARMLESS or kind == LOST:
        return None
    if kind in SAID:
        return SAID[kind]
    if kind not in LYING:
        return MemberSlow
    if operation == "read":
        return MemberFailing if kind == "wrong length" else None
    if operation == "info":
        return None
    return LIES.get(kind, MemberMissing)


def _outcome(place: Place, operation: str, key: str) -> MemberError | None:
    """Do it; return its error, or make sure that what it says is right."""
    lied = {kind for kind in (*LYING, LOST) if place.way.fired[kind]}
    try:
        said = _do(place.member, operation, key)
    except MemberError as error:
        return error
    lied = {kind for kind in (*LYING, LOST) if place.way.fired[kind]} - lied
    assert lied or said == RIGHT[operation](key)
    return None


def _works_again(place: Place, key: str) -> None:
    """See that every verb does what it should, whatever is left of the fault."""
    member = place.member
    member.check()
    member.put(key, [DATA], replace=True)
    assert member.read(key) == DATA and member.info(key).size == len(DATA)
    assert key in [info.key for info in member.list("o/")]
    member.set_aside(key)
    assert len(DATA) in _aside(place, key)
    member.put(key, [DATA])
    member.delete(key)
    with pytest.raises(ObjectMissing):
        member.read(key)


def _aside(place: Place, key: str) -> list[int]:
    """Return the sizes of what lies in quarantine of an object."""
    name = key.replace("/", "_")
    return [i.size for i in place.member.list(QUARANTINE) if name in i.key]


CASES = [
    (operation, kind)
    for operation in RIGHT
    for kind in KINDS
    if fits(kind, METHODS[_request(operation)])
]


@pytest.mark.parametrize("place", SERVERS, indirect=True)
@pytest.mark.parametrize(("operation", "kind"), drawn(CASES, 40))
def test_a_fault_in_one_request_passes_or_is_named(
    place: Place, operation: str, kind: str
) -> None:
    key = _prepared(place, operation)
    place.clock.now += FRESH
    if operation != "check":
        place.member.check()
    place.way.fired.clear()
    place.on_call(_request(operation), 1, kind)
    error = _outcome(place, operation, key)
    place.heal()
    assert place.way.fired == {kind: 1}
    assert (type(error) if error else None) in _once(kind, operation), error
    if error is None and kind not in (*LYING, LOST):
        _was_done(place, operation, key)
    place.member.put(key, [DATA], replace=True)
    assert place.member.read(key) == DATA
    place.member.delete(key)


def _was_done(place: Place, operation: str, key: str) -> None:
    if operation not in ("delete", "set_aside"):
        assert place.member.read(key) == DATA
        return
    with pytest.raises(ObjectMissing):
        place.member.read(key)
    assert _aside(place, key) == ([len(DATA)] if operation == "set_aside" else [])


@pytest.mark.parametrize("place", SERVERS, indirect=True)
@pytest.mark.parametrize("kind", drawn(KINDS, 9))
def test_a_fault_that_lasts_is_named_and_forgotten_when_it_ends(
    place: Place, kind: str
) -> None:
    verbs = ["put"] if kind == LOST else list(RIGHT)
    keys = {operation: _prepared(place, operation) for operation in verbs}
    place.always(kind)
    for operation, key in keys.items():
        place.clock.now += FRESH
        place.way.fired.clear()
        error = _outcome(place, operation, key)
        assert set(place.way.fired) == {kind}, operation
        assert (type(error) if error else None) is _always(kind, operation), operation
    place.heal()
    for key in keys.values():
        place.clock.now += FRESH
        place.member.put(key, [DATA], replace=True)
        assert place.member.read(key) == DATA
    _works_again(place, keys["put"])


# -- an array ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(
    moto: S3Server, rclone: S3Server, proxies: Callable[[S3Server], FaultProxy]
) -> tuple[Array, list[Place]]:
    """Two members at each server in RAID-5."""
    clock = Clock()
    found = [
        Place(proxies(server), server, clock) for server in (moto, rclone, moto, rclone)
    ]
    members = [place.member for place in found]
    return array_over(Level.RAID5, members, clock=clock), found


@pytest.mark.parametrize("kind", drawn(KINDS, 9))
def test_no_fault_of_one_member_makes_a_file_wrong(
    mixed: tuple[Array, list[Place]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halves, "HALF", 256 * 1024)
    whole, members = mixed
    old = _put(whole, 1000, 600_000)
    for place in members[:2]:
        place.always(kind)
        new = _put(whole, 70_000, 600_000)
        _compare(whole, old + new)
        place.heal()
        assert place.way.fired[kind]
        place.way.fired.clear()
        place.clock.now += 100
        for slot in range(len(members)):
            whole.check(slot)
        _compare(whole, old + new)


def _put(array: Array, *sizes: int) -> list[Stored]:
    return [put_blob(array, body(size)) for size in sizes]


def _compare(array: Array, files: list[Stored]) -> None:
    for stored in files:
        assert get_blob(array, stored) == body(stored.size)


# -- the proxy ---------------------------------------------------------------------


def test_a_script_and_dice_decide_what_is_spoilt(
    moto: S3Server, places: Callable[[S3Server], Place]
) -> None:
    place = places(moto)
    place.way.fired.clear()
    place.follow(script(["500", None, "lost reply", LOST]))
    assert place.member.read(STORED) == b"another one" * 9
    place.member.delete(place.key())
    assert place.way.fired == {"500": 1, "lost reply": 1}
    assert place.member.put(place.key(), [DATA]) is None
    assert place.way.fired[LOST] == 1
    seen = []
    for _ in range(2):
        place.heal()
        place.way.fired.clear()
        place.follow(dice(5, ("503", "reset answer", "twice"), 0.2))
        for _ in range(40):
            place.member.info(STORED)
            place.calls.refresh()
        seen.append(dict(place.way.fired))
    assert seen[0] == seen[1] and len(seen[0]) == 3
    place.heal()
