"""What can go wrong with names, folders and transfers, each with a word and a status.

The table in app.py turns these into pages and JSON; `code` is the word that
scripts see, and the message is the sentence that people see.
"""


class FilesError(Exception):
    """Base class: the message is a whole sentence for the user."""

    code = "bad_request"
    status = 400


class BadName(FilesError):
    """A name that cannot be kept."""

    code = "bad_name"


class BadRequest(FilesError):
    """A form, a header or a value that makes no sense."""

    code = "bad_request"


class BodyCut(FilesError):
    """The body ended before the announced number of bytes had come."""

    code = "body_cut"


class BodyStalled(FilesError):
    """The client sent nothing for too long."""

    code = "body_stalled"
    status = 408


class NotFound(FilesError):
    """No such thing, or it is somebody else's: the answer is the same."""

    code = "not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__(
            "There is nothing here. It may have been moved, deleted, or never existed."
        )


class NameTaken(FilesError):
    """Another entry of the folder has this name."""

    code = "name_taken"
    status = 409


class Conflict(FilesError):
    """The change makes no sense where things stand now."""

    code = "conflict"
    status = 409


class TooDeep(FilesError):
    """The folder would lie below too many others."""

    code = "too_deep"
    status = 400


class TooLarge(FilesError):
    """The body is over the operator's limit."""

    code = "too_large"
    status = 413


class OverQuota(FilesError):
    """The user has not that much room left."""

    code = "over_quota"
    status = 413


class KeyReused(FilesError):
    """An Idempotency-Key came again with another request."""

    code = "key_reused"
    status = 422


class PreconditionFailed(FilesError):
    """The file is not what the client thinks it is."""

    code = "precondition_failed"
    status = 412
