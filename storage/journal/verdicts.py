"""What becomes of a blob that the members hold and the journal does not name.

newer than the journal's head      a file as it was uploaded: the export was late
older and unknown, or doubtful     recovered: neither live nor deleted
a tombstone on m+1 members         deleted, and stays so
"""

from dataclasses import dataclass
from enum import StrEnum

from storage.journal.found import Described, Traces, describe, tombstones
from storage.journal.scene import Scene

LATE_US = 120_000_000
"""An upload may be sealed this long before the entry that would have named it."""


class Verdict(StrEnum):
    """What a blob is taken for."""

    LIVE = "live"
    RECOVERED = "recovered"
    DELETED = "deleted"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Judged:
    """A verdict, the description that it rests on, and why."""

    verdict: Verdict
    described: Described | None
    why: str = ""


def is_deleted(scene: Scene, traces: Traces) -> bool:
    """Tell whether enough members say that the blob was purged.

    A purge removes nothing before m+1 members have its tombstone, so fewer prove
    nothing.
    """
    needed = scene.block.shape.m + 1
    return len(traces.tombstones) >= needed and tombstones(scene, traces) >= needed


def judge(scene: Scene, traces: Traces, head_us: int | None) -> Judged:
    """Say what a blob is that the journal, whose head has this time, does not name."""
    if is_deleted(scene, traces):
        return Judged(Verdict.DELETED, None, "It was purged.")
    described = describe(scene, traces)
    if described is None:
        why = "No member has a description of it that is intact."
        return Judged(Verdict.NOTHING, None, why)
    if traces.tombstones:
        why = "Some members say that it was purged, and too few of them."
    elif described.holders < scene.enough:
        why = "One member alone has its description."
    elif head_us is not None and described.manifest.description.uploaded_us < (
        head_us - LATE_US
    ):
        why = "It is older than the journal, which does not name it."
    else:
        return Judged(Verdict.LIVE, described)
    if not described.complete:
        return Judged(Verdict.NOTHING, described, f"{why} Its bytes are not there.")
    return Judged(Verdict.RECOVERED, described, why)
