"""A directory on a disk as a member.

An object is written to a temporary file on the same file system, made durable,
renamed without replacing, and its directory made durable. Before every write the
member makes sure that the directory is still the one that was admitted, so an
empty mount point is never written to.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

from raid.errors import (
    DamagedObject,
    MemberFull,
    MemberMissing,
    MemberReadOnly,
    ObjectExists,
    ObjectMissing,
    UnknownVersion,
)
from raid.keys import QUARANTINE, parse_superblock_key
from raid.member import NEAR, RESERVE, Buffer, ObjectInfo, Space
from raid.superblock import MAX_LENGTH, Superblock
from storage.members.calls import SystemCalls
from storage.members.disk import Disk, is_directory, translate
from storage.members.temporary import sweep, temporary_name

_AREAS = ("o", "t", "c", "tmp", "quarantine")
_WITHOUT_OBJECTS = ("tmp", "quarantine", "lost+found")

_Seal = tuple[str, int, int, int]


class LocalMember:
    """See the module's text; the contract is ``raid.member.Member``."""

    run_units = 1
    weight = NEAR

    def __init__(
        self,
        path: Path,
        calls: SystemCalls | None = None,
        *,
        reserve: int = RESERVE,
    ) -> None:
        """Name a directory, which need not exist; nothing is touched yet."""
        self.label = str(path)
        self.path = path
        self._root = str(path)
        self._disk = Disk(calls or SystemCalls())
        self._calls = self._disk.calls
        self._reserve = reserve
        self._admitted: tuple[UUID, UUID] | None = None
        self._seal: _Seal | None = None
        self._durable: set[str] = set()  # directories whose own names are

    # -- identity ---------------------------------------------------------

    def admit(self, array: UUID, member: UUID) -> None:
        """Insist on this identity from now on; clear what a dead writer left."""
        known = self._admitted
        if known == (array, member):
            return
        self._admitted, self._seal = (array, member), None
        if known is None:
            with suppress(OSError, MemberMissing):
                self._insist()
                sweep(self._calls, self._at("tmp"))

    def check(self) -> None:
        """Raise unless the admitted member is here and has room for new objects."""
        with self._border("check the member"):
            self._insist()
            state = self._disk.statvfs(self._root)
            if state.f_flag & os.ST_RDONLY:
                raise MemberReadOnly(
                    self.label,
                    f"{self.label} is mounted read-only, so nothing new can be "
                    "stored there; mount it read-write.",
                )
            self._keep_reserve(state, 0)

    def _insist(self) -> None:
        """Raise MemberMissing unless the directory has the admitted superblock.

        The file is remembered by device, inode and time of change, so that the
        usual case is one call; anything else makes us read it again.
        """
        seal = self._seal  # another thread may forget it meanwhile
        if seal is not None:
            try:
                if self._seal_of(seal[0]) == seal:
                    return
            except FileNotFoundError:
                pass  # the worker drops old superblocks: look for a newer one
            self._seal = None
        if self._admitted is not None:
            self._seal = self._recognise(*self._admitted)

    def _seal_of(self, path: str) -> _Seal:
        found = self._disk.stat(path)
        return path, found.st_dev, found.st_ino, found.st_ctime_ns

    def _recognise(self, array: UUID, member: UUID) -> _Seal:
        for key in self._superblock_keys():
            path = self._at(key)
            try:
                seal = self._seal_of(path)
                block = Superblock.unpack(self._disk.read(path, 0, MAX_LENGTH + 1))
            except (DamagedObject, FileNotFoundError):
                continue  # an older one may still be whole
            except UnknownVersion as error:
                raise MemberMissing(self.label, str(error)) from error
            if (block.array, block.member) != (array, member):
                raise self._missing("holds another member than the one expected")
            return seal
        raise self._missing("has no superblock that can be read")

    def _superblock_keys(self) -> list[str]:
        """Return the keys of the superblocks, newest first."""
        try:
            names = self._disk.listdir(self._root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing("is not there") from error
        return sorted(filter(parse_superblock_key, names), key=_order, reverse=True)

    def _missing(self, what: str) -> MemberMissing:
        return MemberMissing(
            self.label,
            f"{self.label} {what}, so it is treated as missing and left alone; "
            "mount or attach the right disk there.",
        )

    # -- writing ----------------------------------------------------------

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        replace: bool = False,
        essential: bool = False,
        fresh: bool = False,  # noqa: ARG002
    ) -> None:
        """Store an object durably, or raise and leave nothing; see the contract."""
        size = sum(map(len, parts))
        with self._border(f"store {key}"):
            self._insist()
            if self._admitted is None:
                self._format(key)
            elif not essential:
                self._keep_reserve(self._disk.statvfs(self._root), size)
            temporary = self._at("tmp", temporary_name())
            try:
                self._disk.write(temporary, parts, size)
                self._publish(temporary, key, parts, replace)
            except BaseException:
                with suppress(OSError):
                    self._disk.unlink(temporary)
                raise

    def _keep_reserve(self, state: os.statvfs_result, size: int) -> None:
        free = state.f_bavail * state.f_frsize
        if free < size + self._reserve:
            raise MemberFull(
                self.label,
                f"{self.label} is full: {free} bytes are free and "
                f"{self._reserve} stay in reserve; make room there.",
            )

    def _publish(
        self, temporary: str, key: str, parts: Sequence[Buffer], replace: bool
    ) -> None:
        target = self._at(key)
        try:
            self._rename(temporary, target)
        except FileExistsError:
            if self._is_there(target, parts, replace):
                self._disk.unlink(temporary)
                folder = os.path.dirname(target)  # noqa: PTH120
                self._disk.sync_directory(folder)
                self._sync_above(folder)
                return
            if not replace:
                raise ObjectExists(self.label, key) from None
            self._quarantine(target, key)
            self._rename(temporary, target)
        self._sync_name(target)

    def _rename(self, temporary: str, target: str) -> None:
        """Give the file its name; the one directory above may have to be made."""
        try:
            self._disk.rename_noreplace(temporary, target)
        except FileNotFoundError:
            parent = os.path.dirname(target)  # noqa: PTH120
            self._durable.discard(parent)
            with suppress(FileExistsError):
                self._disk.mkdir(parent)
            self._disk.rename_noreplace(temporary, target)

    def _sync_name(self, target: str) -> None:
        """Make the new name durable, or take it back."""
        folder = os.path.dirname(target)  # noqa: PTH120
        try:
            self._disk.sync_directory(folder)
            self._sync_above(folder)
        except OSError:
            with suppress(OSError):
                self._disk.unlink(target)
            raise

    def _sync_above(self, folder: str) -> None:
        """Make the name of a directory durable that another writer may have made.

        That one may be killed, or not be there yet, when the file in it is
        acknowledged. What was listed before a sync is durable after it.
        """
        if folder == self._root or folder in self._durable:
            return
        above = os.path.dirname(folder)  # noqa: PTH120
        names = self._disk.listdir(above)
        self._disk.sync_directory(above)
        self._durable.update(f"{above}/{name}" for name in names)

    def _is_there(self, path: str, parts: Sequence[Buffer], replace: bool) -> bool:
        try:
            return self._disk.has(path, parts)
        except OSError as error:
            if error.errno != errno.EIO or not replace:
                raise
            return False  # a bad sector: what can't be read is not what was written

    def _quarantine(self, target: str, key: str) -> None:
        """Move an object aside: nothing is repaired by emptying it."""
        aside = f"{key.replace('/', '_')}.{uuid4().hex[:8]}"
        self._disk.rename(target, self._at("quarantine", aside))
        self._disk.sync_directory(self._at("quarantine"))

    def _format(self, key: str) -> None:
        """Make the directories of a blank member; its superblock comes next."""
        if parse_superblock_key(key) is None:
            raise self._missing("was not admitted to an array")
        with suppress(FileExistsError):
            self._disk.mkdir(self._root)
        with suppress(OSError):  # a killed formatting left its file
            sweep(self._calls, self._at("tmp"), blank=True)
        for name in self._disk.listdir(self._root):
            if name != "lost+found" and (
                name not in _AREAS or self._disk.listdir(self._at(name))
            ):
                raise self._missing("is not empty")
        for area in _AREAS:
            with suppress(FileExistsError):
                self._disk.mkdir(self._at(area))
        # The names in it become durable with that of the superblock.
        self._disk.sync_directory(os.path.dirname(self._root))  # noqa: PTH120

    def delete(self, key: str) -> None:
        """Remove an object for good; an absent one is fine."""
        with self._border(f"delete {key}"):
            self._insist()
            target = self._at(key)
            # Whoever removed it before may have been killed before that was durable.
            with suppress(FileNotFoundError):
                self._disk.unlink(target)
            with suppress(FileNotFoundError):
                self._disk.sync_directory(os.path.dirname(target))  # noqa: PTH120

    def keeps(self, prefix: str) -> bool:  # noqa: ARG002
        """What is deleted is gone; a full disk has to say so, too, so no `check`."""
        with self._border("ask what it keeps"):
            self._insist()
        return False

    def sync(self, prefix: str) -> None:
        """Make durable what is seen under a prefix, whoever stored it; see `Member`."""
        with self._border(f"sync {prefix}"):
            self._insist()
            folder = os.path.dirname(self._at(prefix))  # noqa: PTH120
            with suppress(FileNotFoundError):
                self._disk.sync_directory(folder)
                self._sync_above(folder)

    def set_aside(self, key: str) -> None:
        """Move an object to quarantine; an absent one is fine."""
        with self._border(f"set {key} aside"):
            self._insist()
            target = self._at(key)
            try:
                self._quarantine(target, key)
            except FileNotFoundError:
                if self._is_file(target):
                    raise  # else whoever moved it may have been killed before this:
            with suppress(FileNotFoundError):
                self._disk.sync_directory(os.path.dirname(target))  # noqa: PTH120

    def _is_file(self, path: str) -> bool:
        try:
            self._disk.stat(path)
        except FileNotFoundError:
            return False
        return True

    # -- reading ----------------------------------------------------------

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a range of an object; short only at the object's end."""
        with self._border(f"read {key}"):
            try:
                return self._disk.read(self._at(key), offset, length)
            except FileNotFoundError:
                raise self._absent(key) from None

    def info(self, key: str) -> ObjectInfo:
        """Return the size and the time of an object."""
        with self._border(f"look at {key}"):
            try:
                found = self._disk.stat(self._at(key))
            except FileNotFoundError:
                raise self._absent(key) from None
            return ObjectInfo(key, found.st_size, found.st_mtime)

    def _absent(self, key: str) -> ObjectMissing:
        """Say that an object is absent, which only the right member can know."""
        self._insist()
        return ObjectMissing(self.label, key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose keys start with the prefix, sorted by key."""
        with self._border("list objects"):
            self._insist()
            folder = prefix.rpartition("/")[0]
            yield from self._walk(folder, prefix)

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        top = "" if not folder else folder + "/"
        for key in sorted(top + name for name in self._names(folder)):
            if not (key.startswith(prefix) or prefix.startswith(key + "/")):
                continue
            try:
                found = self._disk.stat(self._at(key))
            except FileNotFoundError:
                continue
            if not is_directory(found):
                yield ObjectInfo(key, found.st_size, _time_of(key, found))
            elif key in _AREAS or "/" in key:
                yield from self._walk(key, prefix)
            else:
                yield ObjectInfo(key + "/", 0, found.st_mtime)

    def _names(self, folder: str) -> Iterator[str]:
        try:
            names = self._disk.listdir(self._at(folder) if folder else self._root)
        except FileNotFoundError:
            if folder:
                self._insist()  # only the right member can say that nothing is there
            elif not self._may_be_blank():
                raise
            return
        yield from (n for n in names if folder or n not in _WITHOUT_OBJECTS)

    def _may_be_blank(self) -> bool:
        """A folder that isn't there yet is blank, unless a member was here."""
        return self._admitted is None and self.path.parent.is_dir()

    def space(self) -> Space:
        """Return the room on the file system of the member."""
        with self._border("ask for its space"):
            self._insist()
            state = self._disk.statvfs(self._root)
            total = state.f_blocks * state.f_frsize
            return Space(total, state.f_bavail * state.f_frsize)

    def _at(self, *names: str) -> str:
        return "/".join((self._root, *names))

    @contextmanager
    def _border(self, doing: str) -> Iterator[None]:
        """Turn the system's errors into the engine's, with their cause."""
        try:
            yield
        except OSError as error:
            raise translate(error, self.label, doing) from error


def _order(name: str) -> tuple[int, int]:
    return parse_superblock_key(name) or (0, 0)


def _time_of(key: str, found: os.stat_result) -> float:
    """Return when a file was written or, in quarantine, when it was moved there."""
    return found.st_ctime if key.startswith(QUARANTINE) else found.st_mtime
