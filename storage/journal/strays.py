"""Hold a catalogue against what the members have: what is damaged, purged, or unnamed.

No SQL and no Flask; nothing is written to a member.
"""

from collections import defaultdict
from concurrent.futures import Executor

from raid.manifest import Form, Manifest
from storage.journal import found, verdicts
from storage.journal.catalogue import Row
from storage.journal.found import Traces
from storage.journal.lines import encode_value
from storage.journal.merge import Stray, Target
from storage.journal.scene import Scene
from storage.journal.verdicts import Judged, Verdict

_Bytes = tuple[str | None, int]
"""A SHA-256, and when that was uploaded in microseconds."""

LIVE, TOMBSTONED, PURGING = "live", "tombstoned", "purging"


class Comparison:
    """One walk over the members, against a target that it changes."""

    def __init__(self, scene: Scene, target: Target, head_us: int | None) -> None:
        self._scene = scene
        self._target = target
        self._head_us = head_us
        self._blobs = target.catalogue.blobs
        # What tells that two blobs are one upload, of what is named and of what isn't.
        self._whole: set[_Bytes] = set()
        self._unsure: dict[str, _Bytes] = {}
        self._naming: dict[str, list[str]] = defaultdict(list)
        for key, entry in target.catalogue.entries.items():
            if entry["blob_id"] is not None:
                self._naming[entry["blob_id"]].append(key)

    def run(self, executor: Executor) -> None:
        """Compare everything, then drop the files that nothing is left of."""
        unseen = {key for key, row in self._blobs.items() if row["state"] == LIVE}
        for traces in found.walk(self._scene, executor):
            key = str(traces.blob)
            unseen.discard(key)
            if key in self._blobs:
                self._check(self._blobs[key], traces)
            elif not self._target.catalogue.knows(traces.blob):
                self._unnamed(traces)
        for key in sorted(unseen):
            self._damaged(self._blobs[key], "No member has anything of it.")
        self._forget_files_without_blob()
        self._leave_out_copies()
        for row in self._blobs.values():
            if row["state"] == PURGING:
                # Its purge begins anew: who owes what went with the database.
                row["state"] = TOMBSTONED

    # -- what the catalogue names

    def _check(self, row: Row, traces: Traces) -> None:
        if row["state"] != LIVE:
            return
        if verdicts.is_deleted(self._scene, traces):
            self._bury(row)
            return
        digest = bytes.fromhex(row["manifest_digest"])
        manifest = found.matching(self._scene, traces, digest)
        if manifest is None:
            self._damaged(row, "No member has its description in good order.")
        elif not found.complete(manifest, traces):
            self._damaged(row, "Too few members hold its bytes.")
        elif row["uuid"] in self._naming and found.complete(
            manifest, traces, whole=True
        ):
            self._whole.add((row.get("sha256"), manifest.description.uploaded_us))

    def _damaged(self, row: Row, why: str) -> None:
        """Note what can't be read; a member that is away may still have it."""
        away = self._scene.width - len(self._scene.places)
        row["damaged"] = away <= self._scene.block.shape.m
        for key in self._naming.get(row["uuid"], ()):
            self._target.damaged.append(f"{self._said(key)}: {why}")

    def _bury(self, row: Row) -> None:
        """Let a blob stay deleted that was purged after the journal's head."""
        row["state"] = TOMBSTONED
        row["tombstoned_at"] = row["due_at"] = row["created_at"]
        for key in self._naming.pop(row["uuid"], ()):
            said = self._said(key)
            del self._target.catalogue.entries[key]
            self._target.notes.append(f"{said} was purged, and stays so.")

    def _said(self, key: str) -> str:
        entry = self._target.catalogue.entries[key]
        owner = self._target.catalogue.users.get(str(entry["owner_id"]))
        return f"{entry['name']} of {owner['name'] if owner else 'nobody'}"

    def _forget_files_without_blob(self) -> None:
        for blob, keys in self._naming.items():
            if blob in self._blobs:
                continue
            for key in keys:
                said = self._said(key)
                del self._target.catalogue.entries[key]
                self._target.notes.append(
                    f"{said} is left out: the journal does not know its bytes."
                )

    # -- what it does not name

    def _unnamed(self, traces: Traces) -> None:
        judged = verdicts.judge(self._scene, traces, self._head_us)
        key = str(traces.blob)
        if judged.verdict is Verdict.DELETED:
            self._blobs[key] = _grave(key)
        elif judged.described is None:
            return
        elif judged.verdict is Verdict.NOTHING:
            said = judged.described.manifest.description
            self._target.notes.append(
                f"{said.name} of {said.owner} is left out. {judged.why}"
            )
        else:
            manifest = judged.described.manifest
            said = manifest.description
            self._blobs[key] = row = _row(manifest)
            self._target.strays.append(_stray(judged, manifest))
            if not judged.described.complete:
                self._target.damaged.append(
                    f"{said.name} of {said.owner}: Too few members hold its bytes."
                )
            elif row["sha256"] is not None:
                self._unsure[key] = (row["sha256"], said.uploaded_us)

    def _leave_out_copies(self) -> None:
        """Leave out what a reshape wrote of a file that is there as it was before.

        The copy keeps the time of the upload, to the microsecond. The sweep removes it.
        """
        strays = self._target.strays
        copies = [one for one in strays if self._unsure.get(one.blob) in self._whole]
        for stray in copies:
            strays.remove(stray)
            del self._blobs[stray.blob]
            self._target.notes.append(
                f"{stray.name} of {stray.owner} was being written anew; that copy is "
                "left out, because the file is whole without it."
            )


def _stray(judged: Judged, manifest: Manifest) -> Stray:
    said = manifest.description
    return Stray(
        str(manifest.blob),
        manifest.size,
        said.name,
        said.folder,
        said.owner,
        said.media_type,
        said.uploaded_us,
        judged.verdict is Verdict.LIVE,
        judged.why,
    )


def _row(manifest: Manifest) -> Row:
    """Return the row of a blob that only its manifest tells of."""
    return {
        "uuid": str(manifest.blob),
        "size": manifest.size,
        "form": int(manifest.form),
        "attempt": manifest.attempt,
        "manifest_digest": encode_value(manifest.digest),
        "root": encode_value(manifest.root),
        "sha256": encode_value(manifest.sha256),
        "layout": _layout(manifest),
        "state": LIVE,
        "created_at": manifest.description.uploaded_us,
    }


def _layout(manifest: Manifest) -> dict[str, object] | None:
    if manifest.form is not Form.COMBINED:
        return None
    row = manifest.segments[0]
    shape = row.shape
    return {
        "slots": list(row.slots),
        "k": shape.k,
        "m": shape.m,
        "code": int(shape.code),
    }


def _grave(key: str) -> Row:
    """Return the row of a blob that was purged, so that its purge comes to its end."""
    return {
        "uuid": key,
        "size": 0,
        "form": int(Form.EMPTY),
        "attempt": 1,
        "manifest_digest": "",
        "root": "",
        "state": TOMBSTONED,
        "created_at": 0,
        "tombstoned_at": 0,
        "due_at": 0,
    }
