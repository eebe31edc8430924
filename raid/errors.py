"""What can go wrong in the engine, one class per kind of trouble.

Whether something may go away by itself is a type: `Retryable`. The message of every
error is a whole sentence that can be shown to an operator; it may name members and
their places. `plain` says to anybody else what happened, and names none.
"""

from collections.abc import Iterable


class RaidError(Exception):
    """Anything that the engine reports."""

    plain = "The storage could not do this. An administrator can find out why."


class Retryable(RaidError):
    """Trouble that may go away by itself."""

    plain = "A part of the storage did not answer, so this was not done."


class MemberError(RaidError):
    """One member did not do what was asked; `member` is its label."""

    word = "missing"
    """How a page names what was observed."""

    def __init__(self, member: str, message: str) -> None:
        super().__init__(message)
        self.member = member


class MemberMissing(MemberError, Retryable):
    """The member is not there, blank, foreign or unreachable."""

    word = "missing"


class MemberSlow(MemberError, Retryable):
    """The member did not answer within its deadline."""

    word = "slow"


class MemberFull(MemberError, Retryable):
    """The member has no room beyond its reserve."""

    word = "full"


class MemberReadOnly(MemberError):
    """The member refuses every write."""

    word = "read-only"


class MemberDenied(MemberError):
    """The member refuses our credentials or our user."""

    word = "access-denied"


class MemberFailing(MemberError):
    """The member's device reports errors; what was written is not durable."""

    word = "missing"


class ObjectMissing(MemberError):
    """A member in good standing says definitely that it has no such object."""

    def __init__(self, member: str, key: str) -> None:
        super().__init__(member, f"Member {member} has no object {key}.")
        self.key = key


class ObjectExists(MemberError):
    """The member already has other bytes under this key."""

    def __init__(self, member: str, key: str) -> None:
        super().__init__(
            member, f"Member {member} already has different bytes under {key}."
        )
        self.key = key


class ObjectKept(MemberError):
    """The member lets nothing be deleted, so the object stays; all else works."""

    word = "access-denied"

    def __init__(self, member: str, key: str) -> None:
        super().__init__(
            member,
            f"Member {member} does not let us delete {key}, so it stays there; give "
            "our role s3:DeleteObject, unless it is meant to keep everything.",
        )
        self.key = key


class DamagedObject(RaidError):
    """Stored bytes are not what was written: magic, length, digest or tag is wrong."""


class UnknownVersion(RaidError):
    """Stored bytes need a newer release of Holdfast."""


class BlobDamaged(RaidError):
    """A blob cannot be verified or rebuilt although enough members answer."""

    plain = "A part of this file is damaged, and the storage can't rebuild it."


class BlobUnreachable(Retryable):
    """Too many members are away to read a blob; `members` names them."""

    plain = (
        "A part of this file is on members that are away. "
        "It can be read when one is back."
    )

    def __init__(self, message: str, members: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.members = list(members)


class ArrayFailed(Retryable):
    """More members are away than the level survives, so writes are refused."""

    plain = (
        "Too many members are away or take nothing new, so nothing can be stored "
        "until one is back."
    )


class WriteRefused(Retryable):
    """Fewer than m+1 members are healthy and the setting says refuse."""

    plain = (
        "Too few members are healthy to keep new files as safely as promised, so "
        "nothing is stored until one is back."
    )


class ArrayReadOnly(RaidError):
    """The array was set read-only, or was written by a newer release."""

    plain = "The storage is read-only for now, so nothing can be stored."


class NoSpace(Retryable):
    """No member can take the bytes."""

    plain = "The storage has no room for this."
