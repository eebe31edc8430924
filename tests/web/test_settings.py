"""Settings: what is misspelt, unreadable or dangerous refuses with a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

import config
from support.database import SECRET_KEY, environment

ROOT = Path(config.__file__).parent


def refusal(**settings: str) -> str:
    """Return why these settings are refused."""
    environ = {f"HOLDFAST_{name}": value for name, value in settings.items()}
    with pytest.raises(config.SettingsError) as caught:
        config.load(environ)
    return caught.value.message


def load(**settings: str) -> config.Settings:
    return config.load({f"HOLDFAST_{name}": value for name, value in settings.items()})


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = config.load({})
    assert settings.data_dir == ROOT / "instance"
    assert settings.database_url == f"sqlite:///{ROOT}/instance/holdfast.db"
    assert settings.array_level == "raid5"
    assert len(settings.array_members) == 4
    assert settings.bind == "127.0.0.1:5000"
    assert settings.memory_bytes == 512 << 20
    assert (settings.trash_days, settings.purge_grace_seconds) == (30, 86400)
    assert settings.max_upload_bytes is None
    assert not settings.secure


def test_a_misspelt_name_is_refused_with_the_nearest_one() -> None:
    said = refusal(REGISTRATOIN="closed")
    assert "HOLDFAST_REGISTRATOIN" in said
    assert "Did you mean HOLDFAST_REGISTRATION?" in said


def test_a_name_like_no_other_is_refused_too() -> None:
    assert "There is no setting HOLDFAST_ZZZ" in refusal(ZZZ="1")


def test_all_problems_are_told_at_once() -> None:
    said = refusal(TRASH_DAYS="soon", PASSWORD_MIN_LENGTH="3", COLOUR="red")
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("TRASH_DAYS", "-1", "number of days"),
        ("TRASH_DAYS", "", "is empty"),
        ("TRASH_DAYS", "1e5", "number of days"),
        ("PASSWORD_MIN_LENGTH", "7", "from 8 to 64"),
        ("PASSWORD_MIN_LENGTH", "twelve", "whole number"),
        ("MAX_UPLOAD_BYTES", "10 GB", "number of bytes"),
        ("MEMORY_BYTES", "1024", "at least 67108864"),
        ("REGISTRATION", "invite", "not built yet"),
        ("REGISTRATION", "maybe", "open or closed"),
        ("DEGRADED_WRITE", "yes", "accept or refuse"),
        ("ARRAY_LEVEL", "raid7", "raid1 or raid5 or raid6 or raid10"),
        ("ARRAY_LEVEL", "raid0", "one lost member is the loss of every file"),
        ("ARRAY_MEMBERS", "s3://bucket/p?key=abc", "no parameter 'key'"),
        ("ARRAY_MEMBERS", "s3://Bucket/p", "names no bucket"),
        ("ARRAY_MEMBERS", "/srv/d0", "file:///srv/d0"),
        ("ARRAY_MEMBERS", "file:/a file:/a", "each of them once"),
        ("SCRUB_DAYS", "0", "days"),
        ("PACE", "101", "100"),
        ("DRILL_DAYS", "weekly", "days"),
        ("SPARE_GRACE_MINUTES", "-1", "minutes"),
        ("METRICS_BIND", "9000", "host:port"),
        ("BIND", "5000", "host:port"),
        ("BIND", "127.0.0.1:99999", "host:port"),
        ("BIND", "::1:5000", "[address]:port"),
        ("PUBLIC_URL", "files.example.org", "https://files.example.org"),
        ("PUBLIC_URL", "https://x.org/sub", "no path"),
        ("STATIC_URL", "//evil.example/x", "/static"),
        ("TRUSTED_PROXIES", "proxy.example.org", "addresses"),
        ("DATABASE_URL", "mysql://x/y", "postgresql+psycopg://"),
        ("DATABASE_URL", "nonsense", "postgresql+psycopg://"),
        ("SHARED_FILE_SYSTEM", "maybe", "yes or no"),
    ],
)
def test_a_bad_value_is_refused(name: str, value: str, hint: str) -> None:
    said = refusal(**{name: value})
    assert f"HOLDFAST_{name}" in said
    assert hint in said


def test_a_key_in_a_url_is_refused_and_not_repeated() -> None:
    said = refusal(ARRAY_MEMBERS="file:/a s3://AKIAKEY:abcdef@bucket/p")
    assert "credentials never stand in a URL" in said
    assert "AKIAKEY" not in said and "abcdef" not in said


def test_buckets_and_folders_are_members_together() -> None:
    urls = ("file:members/0", "s3://bucket/p?region=eu-west-1&weight=5")
    assert load(ARRAY_MEMBERS=" ".join(urls)).array_members == urls


def test_good_values_are_taken() -> None:
    settings = load(
        PUBLIC_URL="https://files.example.org/",
        TRUSTED_PROXIES="10.0.0.0/8 unix",
        MAX_UPLOAD_BYTES="5 GiB",
        SESSION_IDLE_DAYS="0.0001",
        BIND="[::1]:5001",
        STATIC_URL="https://cdn.example.org/assets/",
        DEFAULT_QUOTA_BYTES="none",
    )
    assert settings.public_url == "https://files.example.org"
    assert settings.secure
    assert settings.trusted_proxies == ("10.0.0.0/8", "unix")
    assert settings.max_upload_bytes == 5 << 30
    assert settings.session_idle_days == 0.0001
    assert settings.static_url == "https://cdn.example.org/assets"


# -- dangers


@pytest.mark.parametrize("bind", ["0.0.0.0:80", "[::]:80", "10.1.2.3:80", "box:80"])
def test_it_needs_a_public_url_to_be_reachable_from_elsewhere(bind: str) -> None:
    assert "HOLDFAST_PUBLIC_URL" in refusal(BIND=bind)
    assert load(BIND=bind, PUBLIC_URL="http://box.example").bind == bind


@pytest.mark.parametrize("bind", ["localhost:80", "127.9.9.9:80", "unix:/run/x.sock"])
def test_it_needs_none_on_this_machine(bind: str) -> None:
    assert load(BIND=bind).bind == bind


@pytest.mark.parametrize("word", ["1", "true", "on"])
def test_debug_mode_is_refused(word: str) -> None:
    with pytest.raises(config.SettingsError, match="Debug mode"):
        config.load({"FLASK_DEBUG": word})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("short", "too short"),
        ("a" * 64, "too simple"),
        ("abababababababababababababababababab", "too simple"),
        ("changeme-0123456789-abcdefghijklmnop", "example"),
        ("my-SECRET-key-0123456789-abcdefghijk", "example"),
        ("  ", "is empty"),
    ],
)
def test_a_weak_key_is_refused(key: str, hint: str) -> None:
    assert hint in refusal(SECRET_KEY=key)


def test_postgresql_needs_a_key_and_a_word_about_its_folders() -> None:
    url = "postgresql+psycopg://me@db.example/holdfast"
    said = refusal(DATABASE_URL=url)
    assert "HOLDFAST_SECRET_KEY is not set" in said
    assert "HOLDFAST_SHARED_FILE_SYSTEM=yes" in said
    settings = load(DATABASE_URL=url, SECRET_KEY=SECRET_KEY, SHARED_FILE_SYSTEM="yes")
    assert not settings.on_sqlite


# -- secrets in files


def write(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "key", SECRET_KEY + "\n", 0o600)
    assert load(SECRET_KEY_FILE=path).secret_key == SECRET_KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "key", SECRET_KEY, mode)
    said = refusal(SECRET_KEY_FILE=path)
    assert "chmod 600" in said
    assert SECRET_KEY not in said


def test_the_generated_key_is_held_to_the_same(tmp_path: Path) -> None:
    write(tmp_path / "secret_key", SECRET_KEY, 0o644)
    assert "chmod 600" in refusal(DATA_DIR=str(tmp_path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "can't be read" in refusal(SECRET_KEY_FILE=str(tmp_path / "none"))


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "key", SECRET_KEY, 0o600)
    assert "both set" in refusal(SECRET_KEY=SECRET_KEY, SECRET_KEY_FILE=path)


def test_a_bad_secret_is_not_repeated() -> None:
    said = refusal(DATABASE_URL="mysql://me:hunter2hunter2@x/y")
    assert "hunter2" not in said


# -- the command


def flask_settings(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flask", "settings"],
        env=environment(tmp_path, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_flask_settings_prints_all_and_masks_secrets(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hunter2@db.example/holdfast"
    done = flask_settings(tmp_path, DATABASE_URL=url, SHARED_FILE_SYSTEM="yes")
    assert done.returncode == 0, done.stderr
    assert [line.partition("=")[0] for line in done.stdout.splitlines()] == [
        row.variable for row in config.SETTINGS
    ]
    assert SECRET_KEY not in done.stdout
    assert "hunter2" not in done.stdout
    assert "HOLDFAST_SHARED_FILE_SYSTEM=yes" in done.stdout


def test_flask_refuses_in_one_sentence(tmp_path: Path) -> None:
    done = flask_settings(tmp_path, TRASHDAYS="3")
    assert done.returncode == 1
    assert "Did you mean HOLDFAST_TRASH_DAYS?" in done.stderr
    assert "Traceback" not in done.stderr
