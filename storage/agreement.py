"""Whether the members and the database tell one history.

What the database does not know is only worthless when the database is the newest there
is. A database that was restored from an old backup is behind its members, and calls
everything that was stored since unknown.
"""

from raid.array import Array
from raid.assemble import inspect
from storage import maps
from storage.db import db
from storage.journal import heads


def disagreement(array: Array) -> str | None:
    """Return a sentence when a member's head is not the database's, or None.

    The heads are the event of the superblock and the number of the last journal entry.
    Raises a `MemberError` when a member does not answer.
    """
    with db.engine.connect() as connection:
        incarnation, event, _ = maps.version(connection)
    for entry in array.map.slots:
        with array.using(entry.slot) as member:
            found = inspect(member)
            if found.error is not None:
                raise found.error
        block = found.superblock
        if block is None or block.order != (incarnation, event):
            said = found.sentence if block is None else f"It is at event {block.event}."
            return (
                f"The member of slot {entry.slot} and the database differ: the "
                f"database is at event {event}. {said} Nothing is removed until they "
                "agree; the worker writes what is late, and a database that is older "
                "than the members has to be recovered."
            )
    return heads.agree(array)
