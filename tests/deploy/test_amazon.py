"""What an instance asks of Amazon: its secrets, and to keep its numbers."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from sqlalchemy.engine import make_url

import config
from deploy import awssecrets, cloudwatch
from support.buckets import give_credentials

ADDRESS = "db.abc.us-east-1.rds.amazonaws.com:5432"
SCRUBBED = "holdfast_last_scrub_age_seconds"
CLEAN = """# TYPE holdfast_array_state gauge
holdfast_array_state{state="clean"} 1.0
holdfast_array_state{state="degraded"} 0.0
# TYPE holdfast_debts gauge
holdfast_debts{kind="shard"} 2.0
holdfast_debts{kind="manifest"} 3.0
# TYPE holdfast_blobs_damaged gauge
holdfast_blobs_damaged 1.0
"""


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with mock_aws():
        give_credentials(monkeypatch)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield


def keep(name: str, text: str) -> str:
    client = boto3.client("secretsmanager")
    return str(client.create_secret(Name=name, SecretString=text)["ARN"])


@pytest.fixture
def environ(amazon: None) -> dict[str, str]:
    user = {"username": "holdfast", "password": "p@ss/word"}
    return {
        "SECRET_KEY_ARN": keep("key", "Qx7vT2mK9pLw" * 4),
        "DATABASE_SECRET_ARN": keep("database", json.dumps(user)),
        "DATABASE_ADDRESS": ADDRESS,
    }


def test_secrets_are_for_their_owner_only_and_are_taken(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert set(awssecrets.fetch(environ, tmp_path)) == {"secret-key", "database-url"}
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o400
    settings = config.load(
        {
            "HOLDFAST_SECRET_KEY_FILE": str(tmp_path / "secret-key"),
            "HOLDFAST_DATABASE_URL_FILE": str(tmp_path / "database-url"),
            "HOLDFAST_ARRAY_MEMBERS": "s3://one/h s3://two/h s3://three/h",
        }
    )
    assert settings.secret_key == "Qx7vT2mK9pLw" * 4
    url = make_url(settings.database_url)
    assert (url.username, url.password) == ("holdfast", "p@ss/word")
    assert f"{url.host}:{url.port}" == ADDRESS
    # Who answers is checked, not only that something is encrypted.
    assert url.query == {"sslmode": "verify-full", "sslrootcert": awssecrets.BUNDLE}


def test_only_a_new_secret_is_written(environ: dict[str, str], tmp_path: Path) -> None:
    awssecrets.fetch(environ, tmp_path)
    first = (tmp_path / "database-url").stat().st_ino
    assert awssecrets.fetch(environ, tmp_path) == []
    boto3.client("secretsmanager").put_secret_value(
        SecretId=environ["SECRET_KEY_ARN"], SecretString="another" * 8
    )
    assert awssecrets.fetch(environ, tmp_path) == ["secret-key"]
    assert (tmp_path / "secret-key").read_text() == "another" * 8
    assert (tmp_path / "database-url").stat().st_ino == first
    assert len(list(tmp_path.iterdir())) == 2


def test_without_an_answer_the_last_secrets_stay(
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    awssecrets.fetch(environ, tmp_path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    for name, value in (environ | {"SECRET_KEY_ARN": "arn:gone"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["awssecrets", str(tmp_path)])
    assert awssecrets.main() == 1
    said = capsys.readouterr().err
    assert "The secrets can't be fetched" in said
    assert "p@ss" not in said
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before


def test_what_alarms_look_at_is_read_from_the_metrics() -> None:
    assert cloudwatch.numbers(CLEAN) == {
        "Degraded": 0.0,
        "Debts": 5.0,
        "DamagedFiles": 1.0,
    }
    purging = CLEAN.replace('{kind="shard"} 2.0', '{kind="tombstone"} 2000.0')
    assert cloudwatch.numbers(purging)["Debts"] == 3.0
    told = f"{CLEAN}# TYPE {SCRUBBED} gauge\n{SCRUBBED} 864000.0\n"
    assert cloudwatch.numbers(told)["ScrubAgeDays"] == 10.0
    worse = CLEAN.replace('"clean"} 1.0', '"clean"} 0.0')
    assert cloudwatch.numbers(worse)["Degraded"] == 1.0


def test_what_is_not_known_is_not_put() -> None:
    """A database that is away leaves out what comes from it."""
    away = CLEAN.partition("# TYPE holdfast_debts")[0] + "holdfast_database_up 0.0\n"
    assert cloudwatch.numbers(away) == {"Degraded": 0.0}
    assert cloudwatch.numbers("") == {}


def test_the_numbers_of_a_site_are_put(
    amazon: None, monkeypatch: pytest.MonkeyPatch, sqlite_app: Any
) -> None:
    """Out of what `flask metrics` really serves."""
    from storage.metrics import server

    (sqlite_app.config["HOLDFAST"].data_dir / "metrics").mkdir(exist_ok=True)
    text = server.text_of(sqlite_app)().decode()
    monkeypatch.setattr(cloudwatch, "read", lambda bind: text)
    monkeypatch.setenv("HOLDFAST_METRICS_BIND", "127.0.0.1:9464")
    monkeypatch.setenv("STACK", "holdfast")
    assert cloudwatch.main() == 0
    rows = boto3.client("cloudwatch").list_metrics(Namespace="Holdfast")["Metrics"]
    assert {row["MetricName"] for row in rows} >= {"Debts", "DamagedFiles"}
    for row in rows:
        assert row["Dimensions"] == [{"Name": "Stack", "Value": "holdfast"}]


def test_a_site_that_is_away_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_METRICS_BIND", "127.0.0.1:1")
    monkeypatch.setenv("STACK", "holdfast")
    assert cloudwatch.main() == 1
    assert "can't be put" in capsys.readouterr().err
    monkeypatch.setenv("HOLDFAST_METRICS_BIND", "unix:/run/metrics.sock")
    assert cloudwatch.main() == 2
