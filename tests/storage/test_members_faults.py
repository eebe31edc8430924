"""Every system call of a local member fails once, in every way that matters.

After each: nothing half, no temporary file left, and an error that says what it is.
"""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from raid.assemble import format_member
from raid.errors import (
    MemberDenied,
    MemberError,
    MemberFailing,
    MemberFull,
    MemberReadOnly,
)
from raid.geometry import Level
from storage.members.local import LocalMember
from support.arrays import map_of, superblock_of
from support.faultycalls import NAMES, SHORT, FaultyCalls

ERRORS = {
    errno.EIO: MemberFailing,
    errno.ENOSPC: MemberFull,
    errno.EROFS: MemberReadOnly,
    errno.EACCES: MemberDenied,
    errno.EINTR: None,
    SHORT: None,
}
ARRAY_MAP = map_of(Level.RAID1, ["a", "b"])
OLD, NEW = b"old" * 1000, b"new" * 400_000
KEY = f"o/ab/ab{uuid4().hex[2:]}.m1"


@dataclass
class Operation:
    """Something a member does, on an object that was there before or not."""

    run: Callable[[LocalMember], object]
    before: bytes | None
    after: bytes | None


OPERATIONS = {
    "put": Operation(lambda m: m.put(KEY, [NEW[:9], NEW[9:]]), None, NEW),
    "put_same": Operation(lambda m: m.put(KEY, [OLD]), OLD, OLD),
    "replace": Operation(lambda m: m.put(KEY, [NEW], replace=True), OLD, NEW),
    "read": Operation(lambda m: m.read(KEY), OLD, OLD),
    "read_part": Operation(lambda m: m.read(KEY, 100, 1000), OLD, OLD),
    "info": Operation(lambda m: m.info(KEY), OLD, OLD),
    "delete": Operation(lambda m: m.delete(KEY), OLD, None),
    "list": Operation(lambda m: list(m.list("o/")), OLD, OLD),
    "space": Operation(lambda m: m.space(), OLD, OLD),
    "check": Operation(lambda m: m.check(), OLD, OLD),
    "tombstone": Operation(lambda m: m.put(KEY, [OLD], essential=True), None, OLD),
}


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[Operation], Path]:
    """Make a folder with a member in the state before an operation, over and over."""
    for before in (None, OLD):
        member = LocalMember(tmp_path / f"template{before is None}")
        format_member(member, superblock_of(ARRAY_MAP, 0))
        if before is not None:
            member.put(KEY, [before])

    def make(operation: Operation) -> Path:
        template = tmp_path / f"template{operation.before is None}"
        return shutil.copytree(template, tmp_path / uuid4().hex)

    return make


def _run(path: Path, operation: Operation, calls: FaultyCalls) -> Exception | None:
    member = LocalMember(path, calls)
    member._admitted = (ARRAY_MAP.array, ARRAY_MAP.slots[0].member)
    try:
        operation.run(member)
    except MemberError as error:
        return error
    return None


def _content(path: Path) -> bytes | None:
    member = LocalMember(path)
    keys = [info.key for info in member.list("o/")]
    assert keys in ([], [KEY])
    return member.read(KEY) if keys else None


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: errno.errorcode.get(e, "short"))
@pytest.mark.parametrize("name", OPERATIONS)
def test_any_call_may_fail_and_nothing_is_half(
    name: str, error: int, fresh: Callable[[Operation], Path]
) -> None:
    operation = OPERATIONS[name]
    counting = FaultyCalls()
    assert _run(fresh(operation), operation, counting) is None
    fired = 0
    for nth in range(1, counting.count + 1):
        path = fresh(operation)
        calls = FaultyCalls(nth, error)
        failure = _run(path, operation, calls)
        if calls.fired is None:
            assert error == SHORT
            continue
        fired += 1
        _check_outcome(operation, path, calls, failure)
    assert fired or error == SHORT


def _check_outcome(
    operation: Operation, path: Path, calls: FaultyCalls, failure: Exception | None
) -> None:
    content = _content(path)
    where = (calls.fired, calls.nth)
    assert os.listdir(path / "tmp") == [], where
    if failure is None:
        assert content == operation.after, where
        assert ERRORS[calls.error] is None or calls.fired in ("fallocate", "stat"), (
            where
        )
        return
    assert content in (operation.before, operation.after, None), where
    if operation.before == operation.after:
        assert content == operation.before, where
    expected = ERRORS[calls.error] or MemberFailing
    assert type(failure) is expected, where
    assert isinstance(failure.__cause__, OSError), where
    assert failure.__cause__.errno == calls.error, where
    assert str(failure).count(".") >= 1, where


def test_an_interrupted_fsync_is_final(fresh: Callable[[Operation], Path]) -> None:
    class Interrupted(FaultyCalls):
        def fsync(self, fd: int) -> None:
            self.fired = "fsync"
            raise InterruptedError(errno.EINTR, "interrupted")

    calls = Interrupted()
    failure = _run(fresh(OPERATIONS["put"]), OPERATIONS["put"], calls)
    assert calls.fired == "fsync"
    assert isinstance(failure, MemberFailing)


def test_every_system_call_was_made(fresh: Callable[[Operation], Path]) -> None:
    made: set[str] = set()
    for operation in OPERATIONS.values():
        counting = FaultyCalls()
        _run(fresh(operation), operation, counting)
        for nth in range(1, counting.count + 1):
            calls = FaultyCalls(nth)
            _run(fresh(operation), operation, calls)
            made.add(str(calls.fired))
    assert made == set(NAMES)


def test_a_system_without_the_new_rename_still_never_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctypes

    from storage.members import calls as module

    class OldKernel:
        used = 0

        def renameat2(self, *_: object) -> int:
            self.used += 1
            ctypes.set_errno(errno.ENOSYS)
            return -1

    kernel = OldKernel()
    monkeypatch.setattr(module, "_libc", kernel)
    calls = module.SystemCalls()
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"a")
    second.write_bytes(b"b")
    with pytest.raises(FileExistsError):
        calls.rename_noreplace(str(first), str(second))
    assert second.read_bytes() == b"b"
    calls.rename_noreplace(str(first), str(tmp_path / "c"))
    assert (tmp_path / "c").read_bytes() == b"a"
    assert not first.exists()
    assert kernel.used == 2


def test_a_disk_that_cannot_allocate_is_written_all_the_same(
    fresh: Callable[[Operation], Path],
) -> None:
    class Unable(FaultyCalls):
        def fallocate(self, fd: int, size: int) -> None:
            self.fired = "fallocate"
            raise OSError(errno.EOPNOTSUPP, "not supported")

    calls = Unable()
    path = fresh(OPERATIONS["put"])
    assert _run(path, OPERATIONS["put"], calls) is None
    assert calls.fired == "fallocate"
    assert _content(path) == NEW
