"""What refuses to start, and says why: L4 and misspelt or dangerous settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "Qm3v9_tR7yLw2ZxK5pHs8NdF4jBgC6aEuVtX1oYi"


def _start(tmp_path: Path, settings: dict[str, str]) -> subprocess.CompletedProcess:
    """Run what `python app.py` becomes; it must end by itself."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOLDFAST_", "FLASK_"))
    }
    environment |= {"HOLDFAST_DATA_DIR": str(tmp_path / "data"), **settings}
    return subprocess.run(
        [sys.executable, "deploy/launcher.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"HOLDFAST_SECRET_KEY": "short"}, "too short"),
        ({"HOLDFAST_SECRET_KEY": "a" * 64}, "too simple"),
        ({"HOLDFAST_SECRET_KEY": "changeme" + KEY}, "example"),
        ({"FLASK_DEBUG": "1"}, "ebug"),
        (
            {"HOLDFAST_DATABASE_URL": "postgresql+psycopg://u@127.0.0.1:9/none"},
            "SECRET_KEY",
        ),
        ({"HOLDFAST_MAX_UPLOAD": "5"}, "MAX_UPLOAD_BYTES"),
        ({"HOLDFAST_ARRAY_LEVEL": "raid7"}, "raid6"),
        ({"HOLDFAST_ARRAY_LEVEL": "raid0"}, "raid0 is refused: it keeps every byte"),
        ({"HOLDFAST_ARRAY_MEMBERS": "s3://k:s@bucket/prefix"}, "never stand"),
        ({"HOLDFAST_REGISTRATION": "invite"}, "invite"),
        ({"HOLDFAST_TRASH_DAYS": "soon"}, "TRASH_DAYS"),
        ({"HOLDFAST_BIND": "0.0.0.0:5999"}, "PUBLIC_URL"),
        ({"HOLDFAST_PUBLIC_URL": "files.example.org"}, "PUBLIC_URL"),
    ],
)
def test_a_dangerous_or_misspelt_setting_refuses(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    """L4: nothing starts, and a sentence says which setting and what to do."""
    ended = _start(tmp_path, settings)
    assert ended.returncode != 0
    said = ended.stdout + ended.stderr
    assert words in said
    assert "Traceback" not in said
    assert KEY not in said


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_secret_that_others_may_read_refuses(tmp_path: Path, mode: int) -> None:
    """L4: group- and world-readable keys are no secrets."""
    secret = tmp_path / "key"
    secret.write_text(KEY)
    secret.chmod(mode)
    ended = _start(tmp_path, {"HOLDFAST_SECRET_KEY_FILE": str(secret)})
    assert ended.returncode != 0
    assert "chmod 600" in ended.stdout + ended.stderr


def test_a_generated_secret_that_was_opened_up_refuses(tmp_path: Path) -> None:
    """L4: the key in the data folder is held to the same rule."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "secret_key").write_text(KEY)
    (data / "secret_key").chmod(0o644)
    ended = _start(tmp_path, {})
    assert ended.returncode != 0
    assert "chmod 600" in ended.stdout + ended.stderr


def test_a_database_newer_than_the_program_refuses(tmp_path: Path) -> None:
    """An older program never touches the rows of a newer one."""
    code = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]);"
        "d.execute('create table alembic_version (version_num varchar(32))');"
        "d.execute('insert into alembic_version values (?)', ('fffffffffffe',));"
        "d.commit()"
    )
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    path = str(data / "holdfast.db")
    subprocess.run([sys.executable, "-c", code, path], check=True)
    ended = _start(tmp_path, {})
    assert ended.returncode != 0
    said = ended.stdout + ended.stderr
    assert "newer" in said
    assert "Traceback" not in said
