"""The files that the members hold, each where it belongs, for a plain tree."""

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from uuid import UUID

from raid.manifest import Manifest
from storage.journal import found, verdicts
from storage.journal.catalogue import Catalogue, Row
from storage.journal.found import Traces
from storage.journal.paths import Path, Paths
from storage.journal.scene import Scene
from storage.journal.verdicts import Judged, Verdict


@dataclass(frozen=True)
class Item:
    """A file: where it belongs, whose it is, and what describes its bytes.

    Without a manifest it can't be restored, and `why` says so. `complete` is what the
    listings show; only reading it proves anything.
    """

    path: Path
    raw: str
    owner: str
    time_us: int
    manifest: Manifest | None = None
    why: str = ""
    complete: bool = False

    @property
    def shown(self) -> str:
        """Return the path for people."""
        return "/".join(self.path)


class Items:
    """Every file of the catalogue, and what it does not name."""

    def __init__(self, scene: Scene, catalogue: Catalogue, head_us: int | None) -> None:
        self.paths = Paths(catalogue)
        self.notes: list[str] = []
        self._scene = scene
        self._catalogue = catalogue
        self._head_us = head_us
        self._naming: dict[UUID, list[str]] = defaultdict(list)
        for key, entry in catalogue.entries.items():
            if entry["blob_id"] is not None:
                self._naming[UUID(entry["blob_id"])].append(key)

    def walk(self, executor: Executor) -> Iterator[Item]:
        """Yield the files in the order of their blobs, those without bytes at last."""
        for traces in found.walk(self._scene, executor):
            keys = self._naming.pop(traces.blob, None)
            if keys is not None:
                yield from self._named(keys, traces)
            elif not self._catalogue.knows(traces.blob):
                yield from self._unnamed(traces)
        for keys in self._naming.values():
            for key in keys:
                yield self._item(key, why="No member has anything of it.")

    def _named(self, keys: list[str], traces: Traces) -> Iterator[Item]:
        row = self._catalogue.blobs.get(str(traces.blob))
        if verdicts.is_deleted(self._scene, traces):
            self.notes += [
                f"{self._item(key).shown} was purged after the last entry of the "
                "journal, so it does not come back."
                for key in keys
            ]
            return
        manifest, why = None, "The journal has no description of it."
        if row is not None:
            digest = bytes.fromhex(row["manifest_digest"])
            manifest = found.matching(self._scene, traces, digest)
            why = "No member that can be read has its description in good order."
        complete = manifest is not None and found.complete(manifest, traces)
        for key in keys:
            yield self._item(key, manifest, why, complete)

    def _item(
        self,
        key: str,
        manifest: Manifest | None = None,
        why: str = "",
        complete: bool = False,
    ) -> Item:
        entry: Row = self._catalogue.entries[key]
        return Item(
            self.paths.of(key),
            str(entry["name"]),
            self.paths.owner(entry),
            int(entry["changed_at"]),
            manifest,
            why,
            complete,
        )

    def _unnamed(self, traces: Traces) -> Iterator[Item]:
        judged = verdicts.judge(self._scene, traces, self._head_us)
        if judged.described is None:
            return
        said = judged.described.manifest.description
        if judged.verdict is Verdict.NOTHING:
            what = f"{said.folder}/{said.name} of {said.owner}"
            self.notes.append(f"{what}: {judged.why}")
            return
        yield self._described(judged)

    def _described(self, judged: Judged) -> Item:
        assert judged.described is not None
        manifest = judged.described.manifest
        said = manifest.description
        live = judged.verdict is Verdict.LIVE
        path = self.paths.described(said.owner, said.folder, said.name, live=live)
        if not live:
            self.notes.append(f"{'/'.join(path)}: {judged.why}")
        return Item(
            path,
            said.name,
            said.owner,
            said.uploaded_us,
            manifest,
            complete=judged.described.complete,
        )
