"""What an upload is given and what comes of it: source, log and stored blob."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from raid.manifest import Form, Manifest, SegmentRow


class Source(Protocol):
    """The body of an upload."""

    def readinto(self, view: memoryview) -> int:
        """Fill some of a view; 0 is a clean end, a cut body raises."""


class UploadLog(Protocol):
    """What the database is told on the way; every call may raise to stop."""

    def segment(
        self,
        number: int,
        offset: int,
        row: SegmentRow,
        members: tuple[UUID | None, ...],
    ) -> None:
        """Record a segment that is durable on these members; None is owed."""

    def sealing(self, size: int, sha256: bytes | None) -> None:
        """Check length, digest and quota before the blob can come into being."""


@dataclass(frozen=True)
class Stored:
    """A blob that is durable, and who holds what of it.

    ``holders`` has, per segment, the member that holds each role, None when it is
    owed. ``manifest_on`` are the slots that hold the manifest, alone or combined;
    every other slot is owed the manifest, unless it is owed a combined role, which
    brings it along.
    """

    manifest: Manifest
    holders: list[tuple[UUID | None, ...]]
    manifest_on: set[int]
    at_risk: bool

    @property
    def blob(self) -> UUID:
        """Return the uuid of the blob."""
        return self.manifest.blob

    @property
    def attempt(self) -> int:
        """Return the attempt that the manifest has."""
        return self.manifest.attempt

    @property
    def size(self) -> int:
        """Return the number of bytes of the blob."""
        return self.manifest.size

    @property
    def form(self) -> Form:
        """Return where the bytes are."""
        return self.manifest.form

    @property
    def manifest_digest(self) -> bytes:
        """Return the digest that the database keeps."""
        return self.manifest.digest

    @property
    def manifest_length(self) -> int:
        """Return the length of the packed manifest."""
        return self.manifest.length

    @property
    def root(self) -> bytes:
        """Return the content root."""
        return self.manifest.root

    @property
    def sha256(self) -> bytes | None:
        """Return the SHA-256 of the blob when it is known."""
        return self.manifest.sha256

    @property
    def rows(self) -> list[SegmentRow]:
        """Return the rows of the segments."""
        return list(self.manifest.segments)
