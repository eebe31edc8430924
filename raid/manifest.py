"""The immutable description of a blob, enough to read it with no database.

A manifest is a head, sealed by a hash that is the manifest's digest, followed by the
bytes of an inline blob or by pages of segment rows. The head holds the digest and the
first offset of every page, so that one page can be read and verified alone.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Self
from uuid import UUID

from raid import format as fmt
from raid import tags
from raid.errors import DamagedObject, UnknownVersion
from raid.geometry import MAX_ROLES, UNIT
from raid.member import Buffer
from raid.rows import Description, SegmentRow, row_size

__all__ = [
    "Description",
    "Form",
    "Manifest",
    "ManifestHead",
    "Page",
    "SegmentRow",
    "Span",
    "content_root",
    "head_length_of",
    "unpack_head",
    "unpack_page",
]

HEAD_FIXED = 160
PAGE_ROWS = 4096
INLINE_LIMIT = 64 * 1024
"""The longest blob that writers put inside its manifest."""

_FIXED = struct.Struct("<16s16s16sQQBBHI32s32sqIII4x")
_HEAD_LENGTH = struct.Struct("<148xI")
_PAGE = struct.Struct("<Q32s")
_SHA256_KNOWN = 1
_NO_SHA256 = bytes(32)


class Form(IntEnum):
    """Where the bytes of a blob are."""

    EMPTY = 0
    INLINE = 1
    COMBINED = 2
    SEGMENTED = 3


@dataclass(frozen=True, slots=True)
class Page:
    """Where the first segment of a page starts in the blob, and the page's digest."""

    offset: int
    digest: bytes


@dataclass(frozen=True)
class ManifestHead:
    """A verified head: everything but the rows and the inline bytes."""

    array: UUID
    blob: UUID
    attempt: int
    size: int
    form: Form
    root: bytes
    sha256: bytes | None
    description: Description
    segment_count: int
    row_size: int
    pages: tuple[Page, ...]
    digest: bytes
    length: int
    write_version: int = fmt.WRITE_VERSION

    @property
    def newer(self) -> bool:
        """Whether a newer release wrote this: read it, never rewrite it."""
        return self.write_version > fmt.WRITE_VERSION

    @property
    def total_length(self) -> int:
        """Return the length of the whole manifest."""
        inline = self.size if self.form is Form.INLINE else 0
        return self.length + inline + self.segment_count * self.row_size

    def page_range(self, number: int) -> tuple[int, int]:
        """Return where a page starts in the manifest, and its length."""
        rows = min(PAGE_ROWS, self.segment_count - number * PAGE_ROWS)
        start = self.length + number * PAGE_ROWS * self.row_size
        return start, rows * self.row_size

    def page_at(self, offset: int) -> int:
        """Return the number of the page that holds an offset of the blob."""
        return bisect_right(self.pages, offset, key=lambda page: page.offset) - 1


@dataclass(frozen=True)
class Span:
    """Bytes start..stop of one segment, of those that a range of a blob covers."""

    number: int
    row: SegmentRow
    start: int
    stop: int


@dataclass(frozen=True)
class Manifest:
    """The whole description of a blob; make one with `build` or `unpack`."""

    array: UUID
    blob: UUID
    attempt: int
    size: int
    form: Form
    root: bytes
    sha256: bytes | None
    description: Description
    segments: tuple[SegmentRow, ...] = ()
    inline: bytes = b""
    stored: bytes = field(default=b"", repr=False, compare=False)
    """The bytes this came from; they are what a repair copies."""

    @classmethod
    def build(
        cls,
        array: UUID,
        blob: UUID,
        attempt: int,
        description: Description,
        *,
        segments: Sequence[SegmentRow] = (),
        inline: bytes = b"",
        combined: bool = False,
        sha256: bytes | None = None,
    ) -> Self:
        """Describe a blob; form, size and content root follow from what is given."""
        if segments:
            form = Form.COMBINED if combined else Form.SEGMENTED
        else:
            form = Form.INLINE if inline else Form.EMPTY
        size = sum(row.length for row in segments) + len(inline)
        root = content_root(segments, inline)
        rows = tuple(segments)
        return cls(
            array, blob, attempt, size, form, root, sha256, description, rows, inline
        )

    @property
    def newer(self) -> bool:
        """Whether a newer release wrote this: it is copied, never changed."""
        return bool(fmt.PREAMBLE.unpack_from(self._packed)[3] > fmt.WRITE_VERSION)

    def pack(self) -> bytes:
        """Return the bytes of the whole manifest."""
        return self._packed

    @property
    def length(self) -> int:
        """Return the length of the whole manifest."""
        return len(self._packed)

    @cached_property
    def head_length(self) -> int:
        """Return the length of the head."""
        return head_length_of(self._packed)

    @cached_property
    def digest(self) -> bytes:
        """Return the manifest's digest: the hash that seals its head."""
        return self._packed[self.head_length - fmt.HASH_LENGTH : self.head_length]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Return where every segment starts in the blob, and the blob's end."""
        return tuple(accumulate((row.length for row in self.segments), initial=0))

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield what a range of the blob covers of its segments, in order."""
        stop = min(stop, self.offsets[-1])
        number = bisect_right(self.offsets, start) - 1
        while start < stop:
            row, base = self.segments[number], self.offsets[number]
            end = min(stop, base + row.length)
            yield Span(number, row, start - base, end - base)
            start, number = end, number + 1

    @cached_property
    def _packed(self) -> bytes:
        return self.stored or self._pack()

    def _pack(self) -> bytes:
        size = row_size(max((row.shape.width for row in self.segments), default=0))
        rows = [row.pack(size) for row in self.segments]
        starts = range(0, len(rows), PAGE_ROWS)
        pages = [b"".join(rows[at : at + PAGE_ROWS]) for at in starts]
        entries = b"".join(
            _PAGE.pack(self.offsets[at], tags.digest(page))
            for at, page in zip(starts, pages, strict=True)
        )
        head = self._pack_head(size if rows else 0, entries)
        return b"".join((head, self.inline, *pages))

    def _pack_head(self, size_of_row: int, entries: bytes) -> bytes:
        metadata = self.description.pack()
        fixed = _FIXED.pack(
            fmt.preamble(fmt.MANIFEST),
            self.array.bytes,
            self.blob.bytes,
            self.attempt,
            self.size,
            self.form,
            _SHA256_KNOWN if self.sha256 else 0,
            size_of_row,
            UNIT,
            self.root,
            self.sha256 or _NO_SHA256,
            self.description.uploaded_us,
            len(self.segments),
            HEAD_FIXED + len(metadata) + len(entries) + fmt.HASH_LENGTH,
            len(metadata),
        )
        return fmt.seal(fixed + metadata + entries)

    @classmethod
    def unpack(cls, data: Buffer, expected_digest: bytes | None = None) -> Self:
        """Parse and verify a whole manifest; accept no other than the expected one."""
        data = bytes(data)
        head = unpack_head(data, expected_digest)
        if len(data) != head.total_length:
            raise DamagedObject(
                f"A manifest has {len(data)} bytes and says {head.total_length}."
            )
        rows: list[SegmentRow] = []
        for number in range(len(head.pages)):
            start, length = head.page_range(number)
            rows += unpack_page(head, number, data[start : start + length])
        inline = data[head.length :] if head.form is Form.INLINE else b""
        if content_root(rows, inline) != head.root:
            raise DamagedObject("The content of a manifest differs from its root.")
        if head.form is Form.COMBINED and rows[0].attempt != head.attempt:
            raise DamagedObject("A combined object and its manifest differ in attempt.")
        return cls(
            head.array,
            head.blob,
            head.attempt,
            head.size,
            head.form,
            head.root,
            head.sha256,
            head.description,
            tuple(rows),
            inline,
            data,
        )


def content_root(segments: Sequence[SegmentRow], inline: bytes = b"") -> bytes:
    """Return the BLAKE3 over the segment digests, or over the bytes without any."""
    return tags.digest(b"".join(row.digest for row in segments) or inline)


def head_length_of(data: Buffer) -> int:
    """Return the length of the head out of its first 160 bytes, not yet verified."""
    if len(data) < HEAD_FIXED:
        raise DamagedObject(f"A manifest is cut short after {len(data)} bytes.")
    return int(_HEAD_LENGTH.unpack_from(data)[0])


def unpack_head(data: Buffer, expected_digest: bytes | None = None) -> ManifestHead:
    """Parse and verify the head at the start of some bytes."""
    length = head_length_of(data)
    if not HEAD_FIXED + fmt.HASH_LENGTH <= length <= len(data):
        raise DamagedObject(f"A manifest's head says {length} bytes of {len(data)}.")
    head = memoryview(data)[:length]
    version = fmt.open_sealed(head, (fmt.MANIFEST,), length)
    digest = bytes(head[-fmt.HASH_LENGTH :])
    if expected_digest not in (None, digest):
        raise DamagedObject("A manifest is intact but is not the one expected.")
    return _parse_head(head, digest, version)


def _parse_head(head: memoryview, digest: bytes, version: int) -> ManifestHead:
    (_, array, blob, attempt, size, form, flags, rows, unit, root, sha256, uploaded) = (
        _FIXED.unpack_from(head)[:12]
    )
    count, _, metadata = _FIXED.unpack_from(head)[12:]
    if form not in list(Form) or flags & ~_SHA256_KNOWN:
        raise UnknownVersion(
            f"A manifest of form {form} with flags {flags} is not known to this "
            "release. Install a newer release."
        )
    pages = -(-count // PAGE_ROWS)
    end = HEAD_FIXED + metadata + pages * _PAGE.size
    spare = len(head) - fmt.HASH_LENGTH - end
    if spare < 0 or (spare and version == fmt.WRITE_VERSION) or unit != UNIT:
        raise DamagedObject("The lengths in a manifest's head contradict each other.")
    entries = head[HEAD_FIXED + metadata : end]
    parsed = ManifestHead(
        UUID(bytes=array),
        UUID(bytes=blob),
        attempt,
        size,
        Form(form),
        root,
        sha256 if flags & _SHA256_KNOWN else None,
        Description.unpack(head[HEAD_FIXED : HEAD_FIXED + metadata], uploaded),
        count,
        rows,
        tuple(Page(*entry) for entry in _PAGE.iter_unpack(entries)),
        digest,
        len(head),
        version,
    )
    _check_head(parsed)
    return parsed


def _check_head(head: ManifestHead) -> None:
    count = head.segment_count
    fits = {
        Form.EMPTY: count == 0 and head.size == 0,
        Form.INLINE: count == 0 and head.size > 0,
        Form.COMBINED: count == 1,
        Form.SEGMENTED: count >= 1,
    }
    if not fits[head.form]:
        raise DamagedObject("The form of a manifest contradicts its size.")
    least, most = (row_size(2), row_size(MAX_ROLES)) if count else (0, 0)
    if not least <= head.row_size <= most or head.row_size % 8:
        raise DamagedObject(f"A manifest has rows of {head.row_size} bytes.")
    offsets = [*(page.offset for page in head.pages), head.size]
    rising = all(before < after for before, after in pairwise(offsets))
    if head.pages and (offsets[0] or not rising):
        raise DamagedObject("The pages of a manifest are out of order.")


def unpack_page(
    head: ManifestHead, number: int, data: Buffer
) -> tuple[SegmentRow, ...]:
    """Verify one page against the head and return its rows."""
    page = head.pages[number]
    if len(data) != head.page_range(number)[1] or tags.digest(data) != page.digest:
        raise DamagedObject(f"Page {number} of a manifest differs from its digest.")
    view = memoryview(data)
    starts = range(0, len(data), head.row_size)
    rows = tuple(SegmentRow.unpack(view[at : at + head.row_size]) for at in starts)
    last = number + 1 == len(head.pages)
    end = head.size if last else head.pages[number + 1].offset
    if page.offset + sum(row.length for row in rows) != end:
        raise DamagedObject(f"The segments of page {number} have the wrong length.")
    return rows
