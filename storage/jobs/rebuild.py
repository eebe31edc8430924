"""Rebuild: give a member that took a slot at once everything it should hold.

Every object is made from the other members. What could not be made is owed, and stands
in the report, one row per blob; the page adds the names and the owners of the files.
"""

from storage.jobs.filling import Filling
from storage.jobs.runner import register
from storage.models import JobKind

register(JobKind.REBUILD, Filling())
