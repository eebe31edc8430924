"""How long it takes until the database is back: a must of a minute for 10,000 files.

    python -m benchmarks.recovery [--files N] [--dir FOLDER]

Small files of every form below 100 folders, through the services. Then the database is
removed, and `flask array recover` and `python -m storage.restore` run as people run
them; memory is the peak of the process, with that of `flask array status` beside it.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import KIB, MIB, ROOT, Row, report, scratch
from support import database
from support.arrays import Body
from support.people import PASSWORD

FOLDERS = 100
SIZES = (1 * KIB, 3 * KIB, 70 * KIB)
"""Two of three travel in their manifest, one in combined objects."""


def main() -> int:
    """Build, lose, recover, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        _build(options.build, options.files)
        return 0
    with scratch(options.dir) as folder:
        data = folder / "data"
        data.mkdir()
        # In a process of its own: a child's peak begins with that of its parent.
        again = [sys.executable, "-m", "benchmarks.recovery", "--build", str(data)]
        built = _run([*again, "--files", str(options.files)], dict(os.environ))
        print(f"  {options.files} files stored in {built.seconds:.0f} s")
        rows = _measure(folder, data, options.files)
    return report(f"{options.files} files, 4 members, RAID-5", rows)


def _build(data: Path, files: int) -> None:
    """Store the files; durability is not what is measured here."""
    from storage.journal import exporter
    from storage.members.calls import SystemCalls
    from storage.runtime import runtime

    SystemCalls.fsync = _no_fsync  # type: ignore[method-assign]
    app = database.application(data, None, {})
    with app.app_context():
        _upload(files)
        exporter.run(runtime().array())
    database.close(app)


def _no_fsync(_: object, __: int) -> None:
    """Leave what was written to the machine."""


def _upload(files: int) -> None:
    from auth.services import create_user
    from files import services, uploads

    user = create_user("ann", PASSWORD, admin=True)
    top = services.root(user.id).id
    folders = [
        services.create_folder(user.id, top, f"folder {number}").id
        for number in range(FOLDERS)
    ]
    for number in range(files):
        size = SIZES[number % len(SIZES)]
        offer = uploads.Offer(f"file {number}.bin", size)
        body = Body(os.urandom(size))
        uploads.upload(user.id, folders[number % FOLDERS], offer, body)


def _measure(folder: Path, data: Path, files: int) -> list[Row]:
    environment = os.environ | database.environment(data)
    flask = [sys.executable, "-m", "flask"]
    idle = _run([*flask, "array", "status"], environment)
    for path in data.glob("*.db*"):
        path.unlink()
    _run([*flask, "db", "upgrade"], environment)
    dry = _run([*flask, "array", "recover", "--dry-run"], environment)
    done = _run([*flask, "array", "recover"], environment)
    urls = [f"file://{data}/members/{slot}" for slot in range(4)]
    to = folder / "tree"
    restore = [sys.executable, "-m", "storage.restore", "--to", str(to), *urls]
    tool = _run(restore, environment)
    found = sum(path.is_file() for path in to.rglob("*"))
    assert found == files, f"{found} of {files} files were restored"
    return [
        Row("recover --dry-run", "s", samples=[dry.seconds]),
        Row("recover", "s", 60.0, most=True, must=True, samples=[done.seconds]),
        Row("recover: processor", "s", samples=[done.processor]),
        Row("recover: memory", "MiB", samples=[done.peak]),
        Row("array status: memory", "MiB", samples=[idle.peak]),
        Row("storage.restore", "s", samples=[tool.seconds]),
        Row("storage.restore: processor", "s", samples=[tool.processor]),
        Row("storage.restore: memory", "MiB", samples=[tool.peak]),
    ]


@dataclass(frozen=True)
class Used:
    """What a command took: seconds by the clock and of a processor, and MiB."""

    seconds: float
    processor: float
    peak: float


def _run(command: Sequence[str], environment: dict[str, str]) -> Used:
    """Run a command to its end."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}")
    seconds = time.perf_counter() - begun
    return Used(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * KIB / MIB)


if __name__ == "__main__":
    sys.exit(main())
