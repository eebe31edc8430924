"""A bucket as a member: one PUT for each object, and nothing that is left half-done.

An object appears whole or not at all, because that is how a PUT works; nothing is sent
in several parts. Before a write the member has seen its superblock a few seconds ago,
and before it says that an object is absent within a second: a bucket that is gone, was
made again by somebody else or is blank is missing, and never an empty member.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from raid.errors import (
    DamagedObject,
    MemberError,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    ObjectExists,
    ObjectKept,
    ObjectMissing,
    UnknownVersion,
)
from raid.keys import QUARANTINE, SUPERBLOCKS, parse_superblock_key
from raid.member import RESERVE, UNLIMITED, Buffer, ObjectInfo, Space
from raid.superblock import MAX_LENGTH, Superblock
from storage.members.s3body import Body
from storage.members.s3calls import Calls, calls_to
from storage.members.s3errors import (
    Answered,
    Trouble,
    is_denied,
    is_forbidden,
    translate,
)
from storage.members.s3objects import PROBE, Absent, Objects, is_probe
from storage.members.s3url import Bucket

FRESH = 10.0
"""Seconds for which a superblock that was seen still counts for a write."""
BELIEVED = 1.0
"""The same for the word that an object is absent."""
CHECK_SECONDS = 5.0
"""How long a member may take to show its superblock; a start waits for no more."""
_NOTHING = f"{PROBE}/nothing"
"""A key that nobody uses; whether it may be deleted tells whether anything may."""
_QUICK: dict[str, Any] = {"tries": 2, "seconds": CHECK_SECONDS}


class S3Member:
    """See the module's text; the contract is ``raid.member.Member``."""

    run_units = 12

    def __init__(
        self,
        bucket: Bucket,
        *,
        reserve: int = RESERVE,
        capacity: int = UNLIMITED,
        calls: Calls | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name a bucket; no request is made yet."""
        self.bucket = bucket
        self.label = bucket.label
        self.weight = bucket.weight
        self._objects = Objects(bucket, calls or calls_to(bucket))
        self._clock = clock
        self._reserve, self._capacity = reserve, capacity
        self._admitted: tuple[UUID, UUID] | None = None
        self._sealed = ""  # the key of the superblock that was seen
        self._seen_at = float("-inf")
        self._deletes = False  # whether the last deletion was allowed

    # -- identity ---------------------------------------------------------

    def admit(self, array: UUID, member: UUID) -> None:
        """Insist on this identity from now on."""
        if self._admitted != (array, member):
            self._admitted, self._sealed = (array, member), ""
            self._look_again()

    def check(self) -> None:
        """Raise unless the admitted member is here and has room for new objects.

        At most one request every `FRESH` seconds, unless something failed since.
        """
        with self._border("check the member"):
            self._insist()
            self._keep_reserve(0)

    def _insist(self, within: float = FRESH) -> None:
        """Raise MemberMissing unless the bucket has the admitted superblock.

        That it was seen ``within`` so many seconds is enough.
        """
        if self._admitted is None:
            return
        if self._clock() - self._seen_at >= within:
            since = self._clock()
            self._sealed = self._recognise(*self._admitted)
            self._seen_at = since

    def _look_again(self) -> None:
        """See the superblock anew before anything else is believed."""
        self._seen_at = float("-inf")

    def _recognise(self, array: UUID, member: UUID) -> str:
        """Return the key of the newest superblock that is whole and is the right one.

        The one that was seen last is asked for first, which is one request; the worker
        drops old ones, and then they are listed.
        """
        for key in self._superblock_keys():
            try:
                block = Superblock.unpack(self._seal(key))
            except (DamagedObject, Absent):
                continue  # an older one may still be whole
            except UnknownVersion as error:
                raise MemberMissing(self.label, str(error)) from error
            if (block.array, block.member) != (array, member):
                raise self._missing("holds another member than the one expected")
            return key
        if all(is_probe(info.key) for info in self._objects.pages("", most=5)):
            raise self._missing("is blank: it has not one object of the member")
        raise self._missing("has no superblock that can be read")

    def _superblock_keys(self) -> Iterator[str]:
        known = self._sealed
        if known:
            yield known
        found = [info.key for info in self._objects.pages(SUPERBLOCKS, **_QUICK)]
        yield from sorted(filter(parse_superblock_key, found), key=_order, reverse=True)

    def _seal(self, key: str) -> bytes:
        return self._objects.get(key, 0, MAX_LENGTH + 1, **_QUICK)[0]

    def _missing(self, what: str) -> MemberMissing:
        return MemberMissing(
            self.label,
            f"{self.label} {what}, so it is treated as missing and left alone; "
            "look at the bucket and at the URL of the member.",
        )

    # -- writing ----------------------------------------------------------

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        replace: bool = False,
        essential: bool = False,
        fresh: bool = False,
    ) -> None:
        """Store an object durably, or raise and leave nothing; see the contract.

        One request, and one before it where the server ignores If-None-Match and the
        key is not fresh.
        """
        body = Body(parts)
        with self._border(f"store {key}", writing=True):
            self._insist()
            if self._admitted is None:
                self._refuse_used(key)
            elif not essential:
                self._keep_reserve(len(body))
            sent = self._objects.publish(key, body, fresh=fresh)
            if sent or self._objects.same(key, body):
                return
            if not replace:
                raise ObjectExists(self.label, key)
            self._objects.copy_aside(key)
            self._objects.send(key, body)

    def _keep_reserve(self, size: int) -> None:
        if self._capacity < size + self._reserve:
            raise MemberFull(
                self.label,
                f"{self.label} is full: {self._capacity} bytes are free and "
                f"{self._reserve} stay in reserve; make room there.",
            )

    def _refuse_used(self, key: str) -> None:
        """Let only a superblock into a bucket that is blank."""
        if parse_superblock_key(key) is None:
            raise self._missing("was not admitted to an array")
        for info in self._objects.pages("", most=5):
            if info.key != key and not is_probe(info.key):
                raise self._missing("is not empty")

    def delete(self, key: str) -> None:
        """Remove an object for good; an absent one is fine.

        Raises `ObjectKept` when the bucket lets nothing be deleted.
        """
        with self._border(f"delete {key}"):
            self._insist()
            self._drop(key)

    def _drop(self, key: str) -> None:
        try:
            self._objects.drop(key)
        except Answered as answer:
            if not self._denies_the_verb(answer):
                raise
            self._deletes = False
            raise ObjectKept(self.label, key) from answer
        self._deletes = True

    def keeps(self, prefix: str) -> bool:
        """Tell whether what was deleted under a prefix stays as an older version.

        Where we may not list versions: whether the bucket keeps any at all.
        """
        with self._border(f"look for versions under {prefix}"):
            self._insist()
            for told in (self._objects.has_old_versions, self._leaves_markers):
                try:
                    return told(prefix)
                except Answered as answer:
                    if not self._denies_the_verb(answer):
                        raise
            return True  # nothing may be deleted, so nothing ever is

    def _leaves_markers(self, _: str) -> bool:
        return self._objects.leaves_markers()

    def sync(self, prefix: str) -> None:
        """A bucket answers when an object is durable, so there is nothing to do."""

    def set_aside(self, key: str) -> None:
        """Move an object to quarantine; an absent one is fine."""
        with self._border(f"set {key} aside", writing=True):
            self._insist()
            if not self._deletes:
                self._drop(_NOTHING)  # else each try would leave one copy more
            if self._objects.copy_aside(key):
                self._drop(key)
            else:
                self._insist(BELIEVED)

    # -- reading ----------------------------------------------------------

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object; short only at the object's end."""
        with self._border(f"read {key}"):
            try:
                how = _how(key)
                return self._objects.get(key, offset, length, **how)[0]
            except Absent:
                raise self._absent(key) from None

    def info(self, key: str) -> ObjectInfo:
        """Return the size and the time of an object, by the server's clock."""
        with self._border(f"look at {key}"):
            try:
                return self._objects.info(key)
            except Absent:
                raise self._absent(key) from None

    def _absent(self, key: str) -> ObjectMissing:
        """Say that an object is absent, which only the right member can know."""
        self._insist(BELIEVED)
        return ObjectMissing(self.label, key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose keys start with the prefix, sorted by key.

        A thousand for each request. The superblock has to be there at the end, too,
        because what a list lacks counts as absent.
        """
        with self._border("list objects"):
            self._insist()
            aside = prefix.startswith(QUARANTINE)
            for info in self._objects.pages(prefix, **_how(prefix)):
                if aside or not (info.key.startswith(QUARANTINE) or is_probe(info.key)):
                    yield info
            self._insist(BELIEVED)

    def space(self) -> Space:
        """Return the room: that of a bucket has no bound that could be asked for."""
        with self._border("ask for its space"):
            self._insist()
            return Space(self._capacity, self._capacity)

    # -- requests ---------------------------------------------------------

    @contextmanager
    def _border(self, doing: str, *, writing: bool = False) -> Iterator[None]:
        """Turn troubles into the engine's errors, with their cause."""
        try:
            yield
        except Trouble as trouble:
            self._look_again()
            raise self._explained(trouble, doing, writing=writing) from trouble
        except (ObjectMissing, ObjectExists, ObjectKept, MemberFull):
            raise
        except MemberError:
            self._look_again()
            raise

    def _explained(self, trouble: Trouble, doing: str, *, writing: bool) -> MemberError:
        if not is_denied(trouble):
            return translate(trouble, self.label, doing)
        if self.bucket.owner and self._objects.is_strangers():
            return self._missing(
                f"belongs to another account than {self.bucket.owner} by now"
            )
        if writing and is_forbidden(trouble) and self._answers():
            return MemberReadOnly(
                self.label,
                f"Could not {doing}: {self.label} can be read and denies writes; "
                "give our role s3:PutObject there (and the use of its key).",
            )
        return translate(trouble, self.label, doing)

    def _denies_the_verb(self, answer: Answered) -> bool:
        """Say whether it is this request that is denied, and not everything."""
        return is_forbidden(answer) and self._answers()

    def _answers(self) -> bool:
        """Say whether the member can be read: then a denial was about the verb."""
        try:
            self._insist(0)
        except (Trouble, MemberError):
            return False
        return self._admitted is not None


def _how(key: str) -> dict[str, Any]:
    """Return how long a request may take: looking for superblocks has to be quick."""
    return dict(_QUICK) if key.startswith(SUPERBLOCKS) else {}


def _order(key: str) -> tuple[int, int]:
    return parse_superblock_key(key) or (0, 0)
