"""`make mutants`: put each bug of the table into a copy, and run the test that is to
notice. A survivor ends it with 1. Names given as arguments choose among them."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutants.table import MUTANTS, Mutant  # noqa: E402

_LEFT_OUT = (".git", ".venv", "data", "instance", "__pycache__", ".mypy_cache")
PATIENCE = 300


def text_of(mutant: Mutant) -> str:
    """Return the source with the bug; ValueError when its anchor is gone."""
    source = (ROOT / mutant.file).read_text()
    if source.count(mutant.old) != 1:
        raise ValueError(
            f"The anchor of “{mutant.name}” stands {source.count(mutant.old)} times in "
            f"{mutant.file}, and has to stand there once."
        )
    return source.replace(mutant.old, mutant.new)


def is_killed(mutant: Mutant) -> bool:
    """Tell whether the named tests notice the bug; they pass without it."""
    text = text_of(mutant)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        (copy / ".venv").symlink_to(ROOT / ".venv")
        (copy / mutant.file).write_text(text)
        done = subprocess.run(
            [
                sys.executable,
                *("-m", "pytest", "-n0", "-x", "-q", "-p", "no:randomly"),
                f"--basetemp={folder}/tmp",
                *mutant.tests.split(),
            ],
            cwd=copy,
            # A bug of one kind of bucket shows in none of the others: draw nothing.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "WHOLE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name}: pytest could not run:\n{done.stdout}")
    return done.returncode == 1


def _report(mutant: Mutant) -> str:
    begun = time.monotonic()
    try:
        word = "killed" if is_killed(mutant) else "SURVIVED"
    except (ValueError, RuntimeError, subprocess.TimeoutExpired) as error:
        word = f"BROKEN ({error})"
    print(f"{word:9}{time.monotonic() - begun:6.1f} s  {mutant.name}", flush=True)
    return word


def main(names: Sequence[str]) -> int:
    """Run the chosen mutants, or all of them, and count who was noticed."""
    chosen = [m for m in MUTANTS if not names or any(n in m.name for n in names)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        words = list(pool.map(_report, chosen))
    killed = words.count("killed")
    print(f"{killed} of {len(chosen)} mutants were killed.")
    return 0 if killed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
