"""The objects of a bucket by their keys: the requests of S3 that a member is made of.

Knows nothing of identity. Raises `Absent`, `Answered` and `Unanswered`.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from raid.errors import MemberFailing
from raid.keys import QUARANTINE
from raid.member import ObjectInfo
from storage.members.s3body import Body, checksum
from storage.members.s3calls import Calls
from storage.members.s3errors import (
    ABSENT,
    BEYOND,
    EXISTS,
    NO_CONDITIONS,
    NO_COPY,
    NO_VERB,
    Answered,
    Trouble,
    Unanswered,
    is_denied,
)
from storage.members.s3url import Bucket

PROBE = "probe"
"""The key of the object that is written to learn what the server honours."""
_USUAL = 8 << 20
_COMPARE = 1 << 20
_ASIDE_SECONDS = 5.0
_PROBE_TEXT = (
    b"Holdfast writes this to learn whether the server honours If-None-Match.\n"
)


class Objects:
    """Objects under the prefix of a bucket; keys are the member's, without it."""

    def __init__(self, bucket: Bucket, calls: Calls) -> None:
        """Name a bucket; no request is made yet."""
        self._bucket, self._calls = bucket, calls
        self._conditions: bool | None = None
        self._markers: bool | None = None
        self._common: dict[str, Any] = {"Bucket": bucket.name}
        if bucket.owner:
            self._common["ExpectedBucketOwner"] = bucket.owner
        self.stored_as = _stored_as(bucket)

    def publish(self, key: str, body: Body, *, fresh: bool = False) -> bool:
        """Send an object unless there is one already; say whether that was done.

        Where that takes a question before it, a fresh key is not asked for.
        """
        if self._honours_conditions():
            try:
                self.send(key, body, IfNoneMatch="*")
            except Answered as answer:
                if answer.code not in EXISTS:
                    raise
                return False  # perhaps by a try of ours whose answer was lost
            return True
        if not fresh and self._is_there(key):
            return False
        self.send(key, body)
        return True

    def _is_there(self, key: str) -> bool:
        try:
            self.get(key, 0, 1)
        except Absent:
            return False
        return True

    def _honours_conditions(self) -> bool:
        """Prove once per process whether If-None-Match keeps what is there.

        The second PUT of the probe has to be refused. It stays there, so that all
        later processes need one request, and a role without deletion suffices.
        """
        known = self._conditions
        if known is None:
            known = self._refuses(PROBE) or self._refuses(PROBE)
            self._conditions = known
        return known

    def _refuses(self, key: str) -> bool:
        try:
            self.send(key, Body([_PROBE_TEXT]), IfNoneMatch="*")
        except Answered as answer:
            if answer.code in EXISTS:
                return True
            if answer.code not in NO_CONDITIONS:
                raise
        return False

    def send(self, key: str, body: Body, **more: Any) -> None:
        """Store an object by one PUT, over what is there."""
        self.ask(
            "put_object",
            size=len(body),
            Key=self.at(key),
            Body=body,
            **checksum(body, amazon=self._bucket.on_amazon),
            **self.stored_as,
            **more,
        )

    def same(self, key: str, body: Body) -> bool:
        """Compare what is stored with what was to be, a megabyte at a time."""
        offset = 0
        body.seek(0)
        while piece := body.read(_COMPARE):
            data, size = self.get(key, offset, len(piece))
            if size != len(body) or data != piece:
                return False
            offset += len(piece)
        return bool(len(body)) or self.get(key, 0, 1)[1] == 0

    def copy_aside(self, key: str) -> bool:
        """Copy an object to quarantine; say whether there was one.

        What a server does not copy by itself (one with Object Lock may want a checksum
        with it) is read and stored.
        """
        aside = f"{QUARANTINE}{key.replace('/', '_')}.{uuid4().hex[:8]}"
        source = {"Bucket": self._bucket.name, "Key": self.at(key)}
        more = dict(self.stored_as)
        if self._bucket.owner:
            more["ExpectedSourceBucketOwner"] = self._bucket.owner
        try:
            self.ask("copy_object", Key=self.at(aside), CopySource=source, **more)
        except Absent:
            return False
        except Answered as answer:
            if answer.status not in NO_COPY:
                raise
            self.send(aside, Body([self.get(key, 0, None)[0]]))
        return True

    def info(self, key: str) -> ObjectInfo:
        """Return the size and the time of an object.

        A GET of one byte: unlike HEAD its answer says whether it is the object or the
        bucket that there is not.
        """
        try:
            answer = self.ask("get_object", Key=self.at(key), Range="bytes=0-0")
            size = _size(answer)
        except Answered as error:
            if error.code not in BEYOND:
                raise
            answer = self.ask("head_object", Key=self.at(key))  # it has no bytes
            size = answer["ContentLength"]
        return ObjectInfo(key, size, answer["LastModified"].timestamp())

    def get(
        self, key: str, offset: int, length: int | None, **how: Any
    ) -> tuple[bytes, int]:
        """Return a range of an object, and the size of all of it."""
        more: dict[str, Any] = dict(how)
        if offset or length is not None:
            end = "" if length is None else offset + max(length, 1) - 1
            more["Range"] = f"bytes={offset}-{end}"
        try:
            size = _USUAL if length is None else length
            answer = self.ask("get_object", size=size, Key=self.at(key), **more)
        except Answered as error:
            if error.code not in BEYOND:
                raise
            return b"", offset  # the size is this at most
        return _cut(answer, offset, length), _size(answer)

    def pages(self, prefix: str, most: int = 1000, **how: Any) -> Iterator[ObjectInfo]:
        """Yield what is listed; ``most`` is how many objects a request asks for."""
        more: dict[str, Any] = {"Prefix": self.at(prefix), "MaxKeys": most, **how}
        skipped = len(self.at(""))
        while True:
            answer = self.ask("list_objects_v2", **more)
            for found in answer.get("Contents", ()):
                modified = found["LastModified"].timestamp()
                yield ObjectInfo(found["Key"][skipped:], found["Size"], modified)
            if not answer.get("IsTruncated"):
                return
            more["ContinuationToken"] = answer["NextContinuationToken"]

    def drop(self, key: str) -> bool:
        """Delete an object; say whether only a marker was put over it."""
        try:
            answer = self.ask("delete_object", Key=self.at(key))
        except Absent:
            return False
        return bool(answer.get("DeleteMarker"))

    def has_old_versions(self, prefix: str) -> bool:
        """Say whether an object is there that a marker or a newer version hides.

        The answer to a delete does not tell: where nothing is in sight, a server need
        not put a marker. One that does not know the verb has no versions.
        """
        more: dict[str, Any] = {"Prefix": self.at(prefix)}
        try:
            while True:
                answer = self.ask("list_object_versions", **more)
                old = any(not one["IsLatest"] for one in answer.get("Versions", ()))
                if old or not answer.get("IsTruncated"):
                    return old
                more["KeyMarker"] = answer["NextKeyMarker"]
                more["VersionIdMarker"] = answer["NextVersionIdMarker"]
        except Answered as answer:
            if answer.status not in NO_VERB:
                raise
            return False

    def leaves_markers(self) -> bool:
        """Prove once per process whether what is deleted stays as a version.

        With an object of its own: the answer is sure only about one that is there.
        """
        if self._markers is None:
            key = f"{PROBE}/{uuid4()}"
            self.send(key, Body([_PROBE_TEXT]))
            self._markers = self.drop(key)
        return self._markers

    def is_strangers(self) -> bool:
        """Say whether the bucket is denied only because of who owns it."""
        owner = {"ExpectedBucketOwner": self._bucket.owner}
        return self._is_denied(owner) is True and self._is_denied({}) is False

    def _is_denied(self, owner: dict[str, Any]) -> bool | None:
        """Say whether a list is denied; None when that can't be told."""
        try:
            self._calls.ask(
                "list_objects_v2",
                tries=1,
                seconds=_ASIDE_SECONDS,
                Bucket=self._bucket.name,
                Prefix=self.at(""),
                MaxKeys=1,
                **owner,
            )
        except Trouble as trouble:
            return True if is_denied(trouble) else None
        return False

    def at(self, key: str) -> str:
        """Return the key in the bucket of a key of the member's."""
        return f"{self._bucket.prefix}/{key}" if self._bucket.prefix else key

    def ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make a request about the bucket, its owner named where he is known."""
        try:
            return self._calls.ask(operation, **self._common, **parameters)
        except Answered as answer:
            if answer.code in ABSENT:
                raise Absent(answer.code, answer.status) from answer
            raise


def is_probe(key: str) -> bool:
    """Say whether a key is of what was only written to try the server."""
    return key == PROBE or key.startswith(f"{PROBE}/")


class Absent(Answered):
    """There is no such key."""


def _stored_as(bucket: Bucket) -> dict[str, Any]:
    """Return how new objects are stored: class and encryption."""
    said: dict[str, Any] = {}
    if bucket.storage_class:
        said["StorageClass"] = bucket.storage_class
    if bucket.sse == "s3":
        said["ServerSideEncryption"] = "AES256"
    if bucket.sse == "kms":
        # With a bucket key, KMS is not asked (and paid) for each object.
        said.update(ServerSideEncryption="aws:kms", BucketKeyEnabled=True)
        if bucket.kms_key:
            said["SSEKMSKeyId"] = bucket.kms_key
    return said


def _range(answer: dict[str, Any]) -> tuple[int, int, int] | None:
    """Return first, last and size of what was sent, or None for the whole."""
    said = answer.get("ContentRange")
    if not said:
        if answer["ResponseMetadata"]["HTTPStatusCode"] == 206:
            raise _wrong_range()
        return None
    try:
        span, size = said.removeprefix("bytes ").split("/")
        first, last = span.split("-")
        return int(first), int(last), int(size)
    except ValueError:
        raise _wrong_range() from None


def _size(answer: dict[str, Any]) -> int:
    sent = _range(answer)
    return sent[2] if sent else len(answer["Body"])


def _cut(answer: dict[str, Any], offset: int, length: int | None) -> bytes:
    """Return the range that was wanted of what was sent, or raise."""
    data: bytes = answer["Body"]
    sent = _range(answer)
    if sent is None:
        data = data[offset:]  # a server that ignores ranges sends all
        return data if length is None else data[:length]
    first, last, size = sent
    wanted = size - offset if length is None else min(max(length, 1), size - offset)
    if first != offset or last - first + 1 != len(data) or len(data) != wanted:
        raise _wrong_range()
    return b"" if length == 0 else data


def _wrong_range() -> Unanswered:
    return Unanswered(MemberFailing, "sent another range than was asked for")
