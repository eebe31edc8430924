"""The marks of a blob that is not as it should be everywhere: at risk, damaged."""

from uuid import UUID

from sqlalchemy import exists, update

from storage import maps
from storage.models import Blob, Debt


def clear(session: maps.AnySession, blobs: set[UUID]) -> None:
    """Take the marks off blobs that every member has as it should be."""
    if not blobs:
        return
    owed = exists().where(Debt.blob == Blob.uuid)
    session.execute(
        update(Blob)
        .where(Blob.uuid.in_(blobs), Blob.at_risk | Blob.damaged, ~owed)
        .values(at_risk=False, damaged=False)
        .execution_options(synchronize_session=False)
    )


def clear_all(session: maps.AnySession) -> None:
    """Take the marks off every blob that nobody is owed: all members are well."""
    owed = exists().where(Debt.blob == Blob.uuid)
    session.execute(
        update(Blob)
        .where(Blob.at_risk | Blob.damaged, ~owed)
        .values(at_risk=False, damaged=False)
        .execution_options(synchronize_session=False)
    )
