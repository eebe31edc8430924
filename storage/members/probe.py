"""Try everything that a member is asked for, and say what does not work and why.

Nothing of a member is touched: a bucket is tried with a new object under ``probe/``, a
folder with a temporary file. Both are removed again where that is allowed.
"""

import os
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from raid.assemble import inspect
from raid.errors import MemberError
from raid.member import RESERVE, Member
from storage.members.calls import SystemCalls
from storage.members.disk import Disk
from storage.members.disk import translate as translate_disk
from storage.members.findings import Finding, Grade, bucket_arn, objects_arn
from storage.members.local import LocalMember
from storage.members.s3 import S3Member
from storage.members.s3body import Body, checksum
from storage.members.s3calls import Calls, calls_to
from storage.members.s3errors import (
    EXISTS,
    NO_CONDITIONS,
    Answered,
    Trouble,
    is_denied,
    translate,
)
from storage.members.s3objects import PROBE, Absent, Objects
from storage.members.temporary import temporary_name

ROUNDS = 10
ROUNDS_SECONDS = 10.0
"""Seconds after which the latency is told from the rounds that there were."""
SIZE = 8 << 20
"""Bytes that travel for the throughput: a large shard."""
_SMALL = b"Holdfast tries what the server does with this.\n"
_WORST_SKEW = 300.0
_ODD_SKEW = 5.0

Result = tuple[Grade, str]
_Step = Callable[[], Result]


def probe(member: Member) -> Iterator[Finding]:
    """Try a member of any kind; yields what was found as it goes."""
    if isinstance(member, S3Member):
        yield from BucketProbe(member).run()
    elif isinstance(member, LocalMember):
        yield from _probe_folder(member)


def _what_is_there(member: Member) -> Finding:
    found = inspect(member)
    if found.superblock is not None:
        array = found.superblock.array
        said = f"It is a member of the array {array} already."
        return Finding("content", Grade.NOTE, said)
    blank = found.problem == "blank"
    grade = Grade.OK if blank else Grade.NOTE
    if found.error is not None:
        grade = Grade.FAILED
    return Finding("content", grade, found.sentence)


class BucketProbe:
    """The steps for a bucket; each is one verb of the member."""

    def __init__(
        self,
        member: S3Member,
        *,
        calls: Calls | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take a member; its identity plays no part."""
        self._member, self._bucket, self._now = member, member.bucket, now
        self._objects = Objects(member.bucket, calls or calls_to(member.bucket))
        self._key = f"{PROBE}/{uuid4()}"
        self._tidied = False

    def run(self) -> Generator[Finding, None, None]:
        """Try one thing after the other; without an answer nothing else is tried."""
        first = self._try("list", self._list, "s3:ListBucket")
        yield first
        if first.grade is Grade.FAILED and not first.missing:
            return
        put = self._try("put", self._put, "s3:PutObject")
        try:
            yield put
            if put.grade is Grade.OK:
                yield from self._with_an_object()
        finally:
            if put.grade is Grade.OK:
                self._tidy()
        yield self._try("absent", self._absent, "s3:ListBucket")
        yield self._owner()
        yield _what_is_there(self._member)

    def _with_an_object(self) -> Iterator[Finding]:
        yield self._try("get", self._get, "s3:GetObject")
        yield self._try("range", self._range, "s3:GetObject")
        yield self._try("head", self._head, "s3:GetObject")
        yield self._try("conditional put", self._conditional, "s3:PutObject")
        yield self._try("checksum", self._checksum, "s3:PutObject")
        yield self._try("copy", self._copy, "s3:GetObject", "s3:PutObject")
        yield self._try("clock", self._clock, "s3:GetObject")
        yield self._try("latency", self._latency, "s3:GetObject")
        yield self._try("throughput", self._throughput, "s3:PutObject")
        removed = self._try("delete", self._delete, "s3:DeleteObject")
        if removed.missing:  # such a bucket is a good member that keeps everything
            removed = replace(removed, grade=Grade.NOTE)
        self._tidied = True
        yield removed

    def _tidy(self) -> None:
        """Remove what was stored, when whoever listened left before it was tried."""
        if not self._tidied:
            with suppress(Trouble):
                self._delete()

    def _try(self, name: str, step: _Step, *rights: str) -> Finding:
        try:
            grade, sentence = step()
        except Trouble as trouble:
            error = translate(trouble, self._member.label, f"try {name}")
            missing = self._named(rights) if is_denied(trouble) else ()
            return Finding(name, Grade.FAILED, str(error), missing)
        return Finding(name, grade, sentence)

    def _named(self, rights: tuple[str, ...]) -> tuple[str, ...]:
        """Name the rights, with what they are for."""
        named = []
        for right in rights:
            whole = right == "s3:ListBucket"
            where = bucket_arn(self._bucket) if whole else objects_arn(self._bucket)
            named.append(f"{right} on {where}")
        if self._bucket.sse == "kms":
            key = self._bucket.kms_key or "the key of the bucket"
            named.append(f"kms:GenerateDataKey and kms:Decrypt on {key}")
        return tuple(named)

    # -- steps ------------------------------------------------------------

    def _list(self) -> Result:
        next(self._objects.pages("", most=1), None)
        return Grade.OK, "The objects of the member can be listed."

    def _put(self) -> Result:
        self._objects.send(self._key, Body([_SMALL]))
        return Grade.OK, "An object can be stored."

    def _get(self) -> Result:
        data, _ = self._objects.get(self._key, 0, None)
        return _right(data == _SMALL, "What is read is what was stored.")

    def _range(self) -> Result:
        data, size = self._objects.get(self._key, 9, 5)
        well = data == _SMALL[9:14] and size == len(_SMALL)
        return _right(well, "A part of an object can be read.")

    def _head(self) -> Result:
        answer = self._objects.ask("head_object", Key=self._objects.at(self._key))
        well = answer["ContentLength"] == len(_SMALL)
        return _right(well, "The size and the time of an object can be asked for.")

    def _conditional(self) -> Result:
        try:
            self._objects.send(self._key, Body([_SMALL]), IfNoneMatch="*")
        except Answered as answer:
            if answer.code in EXISTS:
                return Grade.OK, "If-None-Match keeps what is there."
            if answer.code not in NO_CONDITIONS:
                raise
        return Grade.NOTE, (
            "If-None-Match is ignored, so every object costs one GET more before it "
            "is stored."
        )

    def _checksum(self) -> Result:
        wrong = checksum(Body([b"other bytes"]), amazon=self._bucket.on_amazon)
        where = self._objects.at(self._key)
        body = Body([_SMALL])
        try:
            self._objects.ask("put_object", tries=1, Key=where, Body=body, **wrong)
        except Answered as answer:
            if answer.status != 400:
                raise
            return Grade.OK, "Bytes that changed on their way are refused."
        return Grade.NOTE, (
            "A wrong checksum is accepted; bytes that change on their way are noticed "
            "when they are read, by their tags."
        )

    def _copy(self) -> Result:
        where = self._objects.at(f"{self._key}.copy")
        source = {"Bucket": self._bucket.name, "Key": self._objects.at(self._key)}
        stored_as = self._objects.stored_as
        self._objects.ask("copy_object", Key=where, CopySource=source, **stored_as)
        data, _ = self._objects.get(f"{self._key}.copy", 0, None)
        return _right(data == _SMALL, "An object can be moved to quarantine.")

    def _absent(self) -> Result:
        try:
            self._objects.get(f"{PROBE}/{uuid4()}", 0, 1)
        except Absent:
            return Grade.OK, "What there is not is called so."
        return Grade.FAILED, "An object that nobody stored was found."

    def _clock(self) -> Result:
        answer = self._ask_byte()
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if not said:
            return Grade.NOTE, "The server does not tell its time."
        skew = abs(parsedate_to_datetime(said).timestamp() - self._now())
        sentence = f"The clocks differ by {skew:.0f} s."
        if skew > _WORST_SKEW:
            return Grade.FAILED, f"{sentence} Set the clock of this machine by NTP."
        return Grade.NOTE if skew > _ODD_SKEW else Grade.OK, sentence

    def _ask_byte(self) -> dict[str, Any]:
        where = self._objects.at(self._key)
        return self._objects.ask("get_object", Key=where, Range="bytes=0-0")

    def _latency(self) -> Result:
        times: list[float] = []
        while len(times) < ROUNDS and sum(times) < 1000 * ROUNDS_SECONDS:
            began = time.monotonic()
            self._ask_byte()
            times.append(1000 * (time.monotonic() - began))
        middle, worst = statistics.median(times), max(times)
        return Grade.OK, f"A small read takes {middle:.0f} ms, at worst {worst:.0f} ms."

    def _throughput(self) -> Result:
        data = os.urandom(SIZE)
        began = time.monotonic()
        self._objects.send(self._key, Body([data]))
        stored = time.monotonic()
        found, _ = self._objects.get(self._key, 0, SIZE)
        ended = time.monotonic()
        if found != data:
            return Grade.FAILED, "Other bytes came back than were stored."
        up, down = _rate(stored - began), _rate(ended - stored)
        return Grade.OK, f"8 MiB go there with {up} MiB/s and come with {down} MiB/s."

    def _delete(self) -> Result:
        for key in (f"{self._key}.copy", self._key):
            self._objects.drop(key)
        return Grade.OK, "An object can be deleted."

    def _owner(self) -> Finding:
        owner = self._bucket.owner
        if owner:
            return Finding("owner", Grade.OK, f"The account {owner} owns the bucket.")
        if not self._bucket.on_amazon:
            return Finding("owner", Grade.OK, "The owner is asked for at Amazon only.")
        return Finding(
            "owner",
            Grade.NOTE,
            "The URL names no owner; with owner=ACCOUNT a bucket that a stranger made "
            "anew under this name gets nothing of ours.",
        )


def _right(well: bool, sentence: str) -> Result:
    if well:
        return Grade.OK, sentence
    return Grade.FAILED, "The answer was not what was stored."


def _rate(seconds: float) -> str:
    return f"{SIZE / (1 << 20) / max(seconds, 1e-6):.1f}"


# -- folders -----------------------------------------------------------------------


def _probe_folder(member: LocalMember) -> Iterator[Finding]:
    where = _place(member.path)
    if where is None:
        said = f"{member.label} is not there, and what it would lie in is not either."
        yield Finding("folder", Grade.FAILED, f"{said} Mount or make it.")
        return
    try:
        yield _room(where)
        yield _written(where)
        yield _what_is_there(member)
    except OSError as error:
        refused: MemberError = translate_disk(error, member.label, "try the folder")
        yield Finding("folder", Grade.FAILED, str(refused))


def _place(path: Path) -> Path | None:
    """Return where a temporary file may lie: a blank folder has to stay blank."""
    for where in (path / "tmp", path, path.parent):
        if where.is_dir():
            return where
    return None


def _room(where: Path) -> Finding:
    state = Disk(SystemCalls()).statvfs(str(where))
    free = state.f_bavail * state.f_frsize
    sentence = f"{free >> 20} MiB are free, of which {RESERVE >> 20} stay in reserve."
    return Finding("room", Grade.OK if free > RESERVE else Grade.FAILED, sentence)


def _written(where: Path) -> Finding:
    disk, path = Disk(SystemCalls()), str(where / temporary_name())
    data = os.urandom(SIZE)
    try:
        began = time.monotonic()
        disk.write(path, [data], SIZE)
        disk.sync_directory(str(where))
        rate = _rate(time.monotonic() - began)
        well = disk.read(path) == data
    finally:
        if os.path.lexists(path):
            disk.unlink(path)
    sentence = f"8 MiB are durable with {rate} MiB/s, and can be read and removed."
    return Finding("write", *_right(well, sentence))
