"""What can go wrong between the engine and the rows; `status` is the HTTP answer.

The engine's own errors pass through as they are; `RaidError` is their base.
"""

from raid.errors import RaidError

__all__ = [
    "ArrayExists",
    "BlobGone",
    "CannotCreate",
    "CannotRecover",
    "Fenced",
    "HoldersGone",
    "Needed",
    "NoArray",
    "NotNow",
    "RaidError",
    "Refused",
    "SlotGone",
    "StorageError",
    "WrongDigest",
    "WrongLength",
]


class StorageError(Exception):
    """Anything that the storage reports; the message is a whole sentence."""

    status = 503
    code = "storage_unavailable"


class NoArray(StorageError):
    """The database knows no array yet."""

    code = "no_array"

    def __init__(self) -> None:
        super().__init__(
            "There is no array yet, so nothing can be stored or read. "
            "An administrator makes one with: flask array create."
        )


class NotNow(StorageError):
    """Something waits until the array is as it must be for it."""

    code = "not_now"


class ArrayExists(StorageError):
    """An array can't be made where there is one."""

    status = 409
    code = "array_exists"


class CannotCreate(StorageError):
    """Members can't be formatted as they are; nothing was changed."""

    status = 409
    code = "cannot_create"


class Refused(StorageError):
    """A change of the members that makes no sense now; nothing was changed."""

    status = 409
    code = "not_possible"


class Needed(Refused):
    """A member is needed; it is taken out of use only by somebody who says so."""


class CannotRecover(StorageError):
    """The database can't be rebuilt as things are; nothing was changed."""

    status = 409
    code = "cannot_recover"


class Fenced(StorageError):
    """Another process took the upload over; nothing of it is kept."""

    code = "upload_interrupted"

    def __init__(self) -> None:
        super().__init__(
            "The upload stood still for so long that it was given up. "
            "Nothing was changed. Try again."
        )


class SlotGone(StorageError):
    """A slot that the upload was written to was given up meanwhile."""

    code = "upload_interrupted"

    def __init__(self) -> None:
        super().__init__(
            "The array became smaller while this was uploaded. Nothing was kept. "
            "Try again."
        )


class HoldersGone(StorageError):
    """Too many of the members that were written to don't serve any more."""

    code = "upload_interrupted"

    def __init__(self) -> None:
        super().__init__(
            "Too many members were replaced or failed while this was uploaded. "
            "Nothing was kept. Try again."
        )


class WrongLength(StorageError):
    """The body was longer or shorter than declared."""

    status = 400
    code = "wrong_length"


class WrongDigest(StorageError):
    """The body does not have the digest that the client declared."""

    status = 400
    code = "digest_mismatch"


class BlobGone(StorageError):
    """The blob was purged; this is no damage."""

    status = 404
    code = "not_found"

    def __init__(self) -> None:
        super().__init__("This file was removed for good.")
