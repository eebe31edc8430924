"""Replace: copy a slot to a new member while the old one still serves.

Every object is read from the old member, verified, and made from the others where that
one is bad. New objects are owed to the new member by those who commit them; when it
lacks nothing any more, `storage.events` gives it the slot.
"""

from storage.jobs.filling import Filling
from storage.jobs.runner import register
from storage.models import JobKind

register(JobKind.REPLACE, Filling())
