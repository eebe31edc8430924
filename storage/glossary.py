"""The operator's words: every state, event and job of the array, and what it means.

One table for the page, the commands, the log and docs/glossary.md, whose test compares
them. A sentence is what is shown; `{slot}` and the event's own fields stand in braces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class Term:
    """A word and what it means, for somebody who reads it at night."""

    word: str
    meaning: str


@dataclass(frozen=True)
class EventTerm(Term):
    """An event: `says` is the sentence, with fields in braces; some are warnings."""

    says: str = ""
    warns: bool = False

    def sentence(self, slot: int | None, fields: Mapping[str, Any]) -> str:
        """Return the sentence of one event.

        >>> EVENTS["member_failed"].sentence(2, {"why": "By hand."})
        'The member of slot 2 is faulty and is not used any more. By hand.'
        """
        known = {"slot": slot, **{n: _shown(value) for n, value in fields.items()}}
        return self.says.format_map(_Gaps(known)).rstrip()


def _shown(value: object) -> str:
    """Return a field as people write it: in sync, where a row has in_sync."""
    text = str(value)
    return text.replace("_", " ") if text in STORED_STATES else text


class _Gaps(dict[str, Any]):
    """Fields that an older release did not note are left empty."""

    def __missing__(self, key: str) -> str:
        return ""


_T = TypeVar("_T", bound=Term)


def _by_word(*terms: _T) -> dict[str, _T]:
    return {term.word: term for term in terms}


ARRAY_STATES = _by_word(
    Term("clean", "Every member is in sync."),
    Term("degraded", "A member is away or not in sync, and no more than may be lost."),
    Term("failed", "More members are away than the level survives; writes wait."),
    Term("readonly", "Files can be read; nothing is written or removed."),
)

STORED_STATES = _by_word(
    Term("in_sync", "The member holds all that it should hold."),
    Term("stale", "The member missed a write and is owed it."),
    Term("rebuilding", "The member takes new writes and is given what it lacks."),
    Term("faulty", "The member was failed, by hand or by its errors; it is not used."),
    Term("spare", "The member is formatted and waits for a slot."),
    Term("retired", "The member was ended for ever; what it holds is not used again."),
)

OBSERVED_STATES = _by_word(
    Term("missing", "The member does not answer, or its place holds no member."),
    Term("slow", "The member did not answer within its deadline."),
    Term("full", "The member has no room beyond its reserve."),
    Term("read-only", "The member refuses every write."),
    Term("access-denied", "The member refuses our credentials or our user."),
)

JOBS = _by_word(
    Term("rebuild", "Give a member everything that its slot should hold."),
    Term("replace", "Copy a slot to a new member while the old one still serves."),
    Term("inventory", "Compare what a member holds with what it should hold."),
    Term("scrub", "Look at every object of every member and repair what is bad."),
    Term("drill", "Read random files with every set of members left out in turn."),
    Term("sweep", "Find, and remove, objects that no file needs."),
    Term("receipts", "Read files back, and note their SHA-256 and the time."),
    Term("reshape", "Write every file anew in the shape that the array has now."),
)

JOB_STATES = _by_word(
    Term("queued", "The job waits for a worker."),
    Term("running", "A worker does the job, step by step."),
    Term("paused", "The job was stopped and can go on where it was."),
    Term("done", "The job came to its end; its report says what was found."),
    Term("failed", "The job gave up; its sentence says why."),
    Term("cancelled", "The job was ended by hand."),
)

EVENTS = _by_word(
    EventTerm(
        "member_failed",
        "A member was taken out of use.",
        "The member of slot {slot} is faulty and is not used any more. {why}",
        warns=True,
    ),
    EventTerm(
        "member_away",
        "A member can't be used for now; nothing is done to what it holds.",
        "The member of slot {slot} is away. {why}",
        warns=True,
    ),
    EventTerm(
        "member_back",
        "A member that was away can be used again.",
        "The member of slot {slot} is back.",
    ),
    EventTerm(
        "member_taken_back",
        "A faulty member was taken back.",
        "The member of slot {slot} is taken back, and is looked at before it counts.",
    ),
    EventTerm(
        "member_keeps",
        "A member does not let what it holds be destroyed.",
        "The member of slot {slot} keeps the bytes of purged files: nothing may be "
        "deleted there, or it stays as an older version. Their tombstones stay, too.",
    ),
    EventTerm(
        "member_older",
        "A member is older than it was, as after its disk was restored.",
        "The member of slot {slot} has lost what was written to it last; it is looked "
        "at before it counts.",
        warns=True,
    ),
    EventTerm(
        "member_replacing",
        "A planned replacement has begun.",
        "What slot {slot} holds is copied to {url}; until then the old member serves.",
    ),
    EventTerm(
        "member_replaced",
        "Another member has taken a slot.",
        "Slot {slot} has the member at {url} now; the old one is retired. {why}",
    ),
    EventTerm(
        "member_retired",
        "A member was ended for ever.",
        "The member at {url} is retired and is never used again. {why}",
        warns=True,
    ),
    EventTerm(
        "spare_added",
        "A spare was formatted.",
        "There is a spare at {url}.",
    ),
    EventTerm(
        "member_state",
        "A member's stored state has changed.",
        "The member of slot {slot} was {before} and is {after}.",
    ),
    EventTerm(
        "job_requested",
        "A job was asked for.",
        "The {job} was asked for.",
    ),
    EventTerm(
        "job_ended",
        "A job came to an end.",
        "The {job} is {state}. {problem}",
    ),
    EventTerm(
        "job_changed",
        "A job was paused, goes on, or was cancelled.",
        "The {job} is {state}. {problem}",
    ),
    EventTerm(
        "array_reshaped",
        "The array got another level or width.",
        "The array is {level} over {width} members now; older files follow.",
    ),
    EventTerm(
        "array_readonly",
        "The array was set read-only.",
        "The array is read-only. {why}",
        warns=True,
    ),
    EventTerm(
        "array_writable",
        "The array takes writes again.",
        "The array takes writes again.",
    ),
    EventTerm(
        "orphans_swept",
        "Objects that no file needs were moved to quarantine.",
        "The sweep moved {objects} objects ({bytes} bytes) that no file needs to "
        "quarantine.",
    ),
    EventTerm(
        "receipt_differs",
        "A file's bytes are intact but are not those of its noted SHA-256.",
        "File {blob} reads back whole, but with another SHA-256 than was noted. "
        "Nothing was replaced. Compare it with another copy.",
        warns=True,
    ),
    EventTerm(
        "scrub_found",
        "A scrub found objects that were not as they were written.",
        "The scrub found {missing} objects missing, {size} cut or too long, {bad} bad "
        "and {parity} parities wrong; {repaired} were repaired.",
        warns=True,
    ),
    EventTerm(
        "scrub_suspects",
        "A scrub stopped, because too much looked lost at once.",
        "The scrub stopped: of {looked} segments {lost} look lost. It suspects the "
        "metadata or the credentials, and repairs nothing.",
        warns=True,
    ),
    EventTerm(
        "parity_wrong",
        "A parity has the right tag and does not belong to its data.",
        "The parity of the blob {blob} does not belong to its data, so the blob is at "
        "risk. Store the file anew, and report this: a release wrote it wrongly.",
        warns=True,
    ),
    EventTerm(
        "drill_failed",
        "A recovery drill could not read a file with members left out.",
        "The drill failed in {failures} readings: files that should survive the loss "
        "of a member would not. Let a scrub run, and look at the drill's report.",
        warns=True,
    ),
    EventTerm(
        "array_recovered",
        "The database was rebuilt from the members.",
        "The database was rebuilt from the members: {accounts} accounts, {blobs} "
        "blobs; {unnamed} that the journal did not name, {damaged} damaged.",
        warns=True,
    ),
    EventTerm(
        "member_rolled_back",
        "A member holds less of the journal than it had acknowledged.",
        "The member of slot {slot} holds an older state than it had; it is stale, and "
        "everything on it is looked through.",
        warns=True,
    ),
    EventTerm(
        "journal_late",
        "Changes have waited for over a minute to be safe on the members.",
        "The oldest change has waited for {seconds} seconds to be safe on the members; "
        "{entries} journal entries and {rows} rows wait. If the database were lost "
        "now, they would be lost with it.",
        warns=True,
    ),
    EventTerm(
        "journal_in_time",
        "Every change is safe on the members within a minute again.",
        "Changes are safe on the members in time again.",
    ),
)

ERRORS = _by_word(
    Term("array_exists", "There is an array already, and there can be one only."),
    Term("array_failed", "More members are away than the level survives; it waits."),
    Term("array_read_only", "Nothing is written or removed for now."),
    Term("cannot_create", "The places can't become members; nothing was changed."),
    Term("cannot_recover", "The members don't tell enough to make the database anew."),
    Term("damaged", "Too much of the file is bad; none of its bytes are served."),
    Term("degraded_write_refused", "Too few members are healthy for new files."),
    Term("digest_mismatch", "The bytes are not those of the SHA-256 that was sent."),
    Term("members_away", "The file can be read when a member is back."),
    Term("no_array", "The database knows no array yet."),
    Term("no_space", "No member has room for the bytes."),
    Term("not_now", "Something waits until the array is as it must be for it."),
    Term("not_possible", "What was asked makes no sense now; nothing was changed."),
    Term("not_found", "The file was removed for good."),
    Term("reshape_mismatch", "What was written anew differs; the old file stays."),
    Term("reshape_waits", "The rewrite waits for members; nothing was lost."),
    Term("storage_error", "The members answered in a way that makes no sense."),
    Term("storage_unavailable", "A member did not answer in time; trying again helps."),
    Term(
        "upload_interrupted",
        "The upload stood still or members changed meanwhile; try again.",
    ),
    Term("wrong_length", "More or fewer bytes came than were declared."),
)

TABLES: tuple[tuple[str, str, Mapping[str, Term]], ...] = (
    ("The array", "What it is now; the first word of its page.", ARRAY_STATES),
    ("Members: stored states", "In the database and superblocks.", STORED_STATES),
    ("Members: observed states", "What one process saw last.", OBSERVED_STATES),
    ("Jobs", "What the worker does step by step.", JOBS),
    ("States of jobs", "The last three are ends.", JOB_STATES),
    ("Events", "What is noted on the page and in the log.", EVENTS),
    ("Errors", "The codes in an answer as JSON.", ERRORS),
)
