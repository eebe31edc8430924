"""The acceptance command itself, over a slice of the real trees."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
def test_every_byte_survives_each_member_in_turn(tmp_path: Path) -> None:
    """`python -m benchmarks.acceptance --quick` says that all is equal."""
    command = [sys.executable, "-m", "benchmarks.acceptance", "--quick"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "All equal"
    for slot in range(4):
        assert f"d{slot} away" in done.stdout
