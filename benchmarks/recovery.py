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
    options = parser.parse_args()
    with scratch(options.dir) as folder:
        data = folder / "data"
        data.mkdir()
        begun = time.perf_counter()
        _build(data, options.files)
        print(f"  {options.files} files in {time.perf_counter() - begun:.0f} s")
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
    rows = [
        Row("flask array recover --dry-run", "s"),
        Row("flask array recover", "s", 60.0, most=True, must=True),
        Row("its memory", "MiB"),
        Row("flask array status: memory", "MiB"),
        Row("storage.restore", "s"),
        Row("its memory", "MiB"),
    ]
    environment = os.environ | database.environment(data)
    flask = [sys.executable, "-m", "flask"]
    _, idle = _run([*flask, "array", "status"], environment)
    for path in data.glob("*.db*"):
        path.unlink()
    _run([*flask, "db", "upgrade"], environment)
    dry, _ = _run([*flask, "array", "recover", "--dry-run"], environment)
    seconds, peak = _run([*flask, "array", "recover"], environment)
    urls = [f"file://{data}/members/{slot}" for slot in range(4)]
    to = folder / "tree"
    restore = [sys.executable, "-m", "storage.restore", "--to", str(to), *urls]
    restored, tool = _run(restore, environment)
    found = sum(path.is_file() for path in to.rglob("*"))
    assert found == files, f"{found} of {files} files were restored"
    for row, value in zip(
        rows, (dry, seconds, peak, idle, restored, tool), strict=True
    ):
        row.samples.append(value)
    return rows


def _run(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its seconds and its peak memory in MiB."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}")
    return time.perf_counter() - begun, used.ru_maxrss * KIB / MIB


if __name__ == "__main__":
    sys.exit(main())
